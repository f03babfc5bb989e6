--TEST--
__toString() of an argument may throw
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-none/hub.sock
--FILE--
<?php
function say(callable $call): void
{
    try {
        var_dump($call());
    } catch (Throwable $e) {
        echo get_class($e), ': ', $e->getMessage(), "\n";
    }
}

final class Name
{
    public function __toString(): string
    {
        throw new DomainException('no name');
    }
}
say(fn() => push_publish(new Name, 'x'));
say(fn() => push_publish('news', 'x', new Name));
say(fn() => create_channel(new Name));
?>
--EXPECT--
DomainException: no name
DomainException: no name
DomainException: no name
