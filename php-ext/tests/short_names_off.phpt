--TEST--
push.short_names=Off leaves create_channel() to others
--EXTENSIONS--
push
--INI--
push.short_names=Off
--FILE--
<?php
var_dump(function_exists('create_channel'), function_exists('push_create_channel'));
if (!function_exists('create_channel')) {
    function create_channel(): string
    {
        return 'mine';
    }
}
var_dump(create_channel());
?>
--EXPECT--
bool(false)
bool(true)
string(4) "mine"
