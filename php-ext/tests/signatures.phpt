--TEST--
The functions' signatures, as Reflection shows them
--EXTENSIONS--
push
--FILE--
<?php
foreach (['push_publish', 'push_publish_async', 'push_publish_many', 'create_channel', 'push_create_channel',
    'push_delete_channel', 'push_clear_channel', 'push_channel_info', 'push_channels', 'push_history', 'push_position', 'push_token', 'push_disconnect', 'push_accel',
    'push_presence_online', 'push_presence_offline', 'push_presence_is_online', 'push_presence_among', 'push_presence_get', 'push_presence_members', 'push_presence_count', 'push_presence_channels',
    'push_hub_address', 'push_status', 'push_ping'] as $name) {
    $function = new ReflectionFunction($name);
    $parameters = array_map(function (ReflectionParameter $parameter): string {
        $default = $parameter->isOptional() ? ' = ' . var_export($parameter->getDefaultValue(), true) : '';
        return "{$parameter->getType()} \${$parameter->getName()}$default";
    }, $function->getParameters());
    echo "$name(", implode(', ', $parameters), "): {$function->getReturnType()}\n";
}
?>
--EXPECT--
push_publish(string $channel, mixed $data, ?string $event = NULL, ?string $event_id = NULL, ?int $ttl = NULL, bool $store = true, ?string $dedupe = NULL): Push\Published
push_publish_async(string $channel, mixed $data, ?string $event = NULL, ?string $event_id = NULL, ?int $ttl = NULL, bool $store = true, ?string $dedupe = NULL): void
push_publish_many(array $messages): array
create_channel(string|int|null $user = NULL, ?string $name = NULL, ?int $ttl = NULL, ?int $max_messages = NULL, ?int $message_ttl = NULL, bool $presence = true): string
push_create_channel(string|int|null $user = NULL, ?string $name = NULL, ?int $ttl = NULL, ?int $max_messages = NULL, ?int $message_ttl = NULL, bool $presence = true): string
push_delete_channel(string $channel, ?string $message = NULL): bool
push_clear_channel(string $channel): int
push_channel_info(string $channel): ?Push\ChannelInfo
push_channels(string $prefix = '', int $limit = 1000, ?string $after = NULL): array
push_history(string $channel, ?string $after = NULL, int $limit = 100): array
push_position(): string
push_token(array|string $channels, string|int|null $user = NULL, int $ttl = 3600, array $info = array (
), bool $publish = false): string
push_disconnect(string|int|null $user = NULL, ?string $channel = NULL, string $reason = '', bool $revoke = false): int
push_accel(array|string $channels, string|int|null $user = NULL, array $info = array (
)): void
push_presence_online(string|int $user, ?string $channel = NULL, array $info = array (
), ?int $ttl = NULL): bool
push_presence_offline(string|int $user, ?string $channel = NULL): bool
push_presence_is_online(string|int $user, ?string $channel = NULL): bool
push_presence_among(array $users, ?string $channel = NULL): array
push_presence_get(string|int $user, ?string $channel = NULL): ?Push\Member
push_presence_members(?string $channel = NULL, int $limit = 1000, ?string $after = NULL): array
push_presence_count(?string $channel = NULL): int
push_presence_channels(string|int $user): array
push_hub_address(): ?string
push_status(): array
push_ping(float $timeout = 0.2): bool
