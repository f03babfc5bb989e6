--TEST--
The value classes are final, readonly and typed
--EXTENSIONS--
push
--FILE--
<?php
foreach ([Push\Published::class, Push\ChannelInfo::class, Push\Member::class] as $name) {
    $class = new ReflectionClass($name);
    echo implode(' ', Reflection::getModifierNames($class->getModifiers())), " class $name\n";
    foreach ($class->getProperties() as $property) {
        echo '    ', implode(' ', Reflection::getModifierNames($property->getModifiers())), ' ', $property->getType(), ' $', $property->getName(), "\n";
    }
}
class_exists(Push\Published::class);
eval('class Mine extends Push\Published {}');
?>
--EXPECTF--
final%Sclass Push\Published
    public readonly int $id
    public readonly string $position
    public readonly int $subscribers
final%Sclass Push\ChannelInfo
    public readonly string $name
    public readonly int $published
    public readonly int $stored
    public readonly int $subscribers
    public readonly ?string $owner
    public readonly ?int $ttl
    public readonly string $position
final%Sclass Push\Member
    public readonly string $user
    public readonly array $info
    public readonly int $connections
    public readonly int $since

Fatal error: Class Mine %s final class %SPush\Published%Sin %s
