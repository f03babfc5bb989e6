--TEST--
disable_functions takes away single functions
--EXTENSIONS--
push
--INI--
disable_functions=push_publish
--FILE--
<?php
var_dump(function_exists('push_publish'), function_exists('push_publish_async'));
try {
    push_publish('news', 'x');
} catch (Error $e) {
    echo $e->getMessage(), "\n";
}
?>
--EXPECT--
bool(false)
bool(true)
Call to undefined function push_publish()
