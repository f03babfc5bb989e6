--TEST--
Data that cannot be encoded as JSON is refused before a hub is asked
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-none/hub.sock
--FILE--
<?php
$loop = [];
$loop['self'] = &$loop;
$throws = new class implements JsonSerializable {
    public function jsonSerialize(): mixed
    {
        throw new DomainException('not today');
    }
};
$deep = 1;
for ($i = 0; $i < 600; $i++) {
    $deep = [$deep];
}
foreach ([NAN, ["\xff"], STDIN, $loop, $deep, $throws] as $data) {
    try {
        push_publish('news', $data);
    } catch (Throwable $e) {
        $previous = $e->getPrevious();
        echo $e::class, ': ', $e->getMessage(), ' <- ', $previous ? $previous::class : 'nothing', "\n";
    }
}
?>
--EXPECT--
Push\Exception\EncodingError: Inf and NaN cannot be JSON encoded <- JsonException
Push\Exception\EncodingError: Malformed UTF-8 characters, possibly incorrectly encoded <- JsonException
Push\Exception\EncodingError: Type is not supported <- JsonException
Push\Exception\EncodingError: Recursion detected <- JsonException
Push\Exception\EncodingError: Maximum stack depth exceeded <- JsonException
DomainException: not today <- nothing
