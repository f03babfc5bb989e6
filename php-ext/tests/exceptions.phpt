--TEST--
Exceptions can be made, extended and caught by their marker
--EXTENSIONS--
push
--FILE--
<?php
foreach (['HubUnavailable', 'Timeout', 'ChannelNotFound', 'AccessDenied', 'PayloadTooLarge', 'LimitExceeded', 'EncodingError'] as $name) {
    $class = "Push\\Exception\\$name";
    $e = new $class('text', 7, new DomainException('before'));
    var_dump($e instanceof Push\Exception\PushException && $e instanceof RuntimeException);
    echo $e::class, ' ', $e->getMessage(), ' ', $e->getCode(), ' ', $e->getPrevious()->getMessage(), ' ', $e->getLine(), "\n";
}
final class Late extends Push\Exception\Timeout
{
}
try {
    throw new Late('mine');
} catch (Push\Exception\PushException $e) {
    echo $e::class, ' ', $e->getMessage(), ' ', $e->getCode(), "\n";
}
var_dump((new ReflectionClass(Push\Exception\PushException::class))->isInterface());
eval('final class Other implements Push\Exception\PushException {}');
?>
--EXPECTF--
bool(true)
Push\Exception\HubUnavailable text 7 before 4
bool(true)
Push\Exception\Timeout text 7 before 4
bool(true)
Push\Exception\ChannelNotFound text 7 before 4
bool(true)
Push\Exception\AccessDenied text 7 before 4
bool(true)
Push\Exception\PayloadTooLarge text 7 before 4
bool(true)
Push\Exception\LimitExceeded text 7 before 4
bool(true)
Push\Exception\EncodingError text 7 before 4
Late mine 0
bool(true)

Fatal error: Class Other cannot implement interface Throwable, extend Exception or Error instead in %s on line %d
