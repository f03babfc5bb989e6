--TEST--
The extension is loaded and brings its functions
--EXTENSIONS--
push
--FILE--
<?php
var_dump(extension_loaded('push'));
$functions = get_extension_funcs('push');
foreach (['push_publish', 'push_publish_async', 'push_publish_many', 'create_channel', 'push_create_channel',
    'push_delete_channel', 'push_clear_channel', 'push_channel_info', 'push_channels', 'push_history', 'push_position', 'push_token', 'push_disconnect', 'push_accel',
    'push_presence_online', 'push_presence_offline', 'push_presence_is_online', 'push_presence_among', 'push_presence_get', 'push_presence_members', 'push_presence_count', 'push_presence_channels',
    'push_status', 'push_ping'] as $name) {
    if (!in_array($name, $functions, true)) {
        echo "$name() is missing\n";
    }
}
?>
--EXPECT--
bool(true)
