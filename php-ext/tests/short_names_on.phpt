--TEST--
create_channel() already exists where push.short_names is on
--EXTENSIONS--
push
--INI--
push.short_names=On
--FILE--
<?php
var_dump((new ReflectionFunction('create_channel'))->getExtensionName());
function create_channel(): string
{
    return 'mine';
}
?>
--EXPECTF--
Fatal error: Cannot redeclare %Screate_channel()%Sin %s on line %d
