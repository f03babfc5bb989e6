--TEST--
What php --re shows: INI entries, functions, classes
--EXTENSIONS--
push
--FILE--
<?php
echo new ReflectionExtension('push');
?>
--EXPECTF--
Extension [ <persistent> extension #%d push version %s ] {

  - INI {
%A    Entry [ push.socket <SYSTEM> ]
      Current = ''
    }
%A    Entry [ push.timeout <ALL> ]
      Current = ''
    }
%A  - Functions {
    Function [ <internal:push> function push_publish ] {

      - Parameters [%d] {
        Parameter #0 [ <required> string $channel ]
        Parameter #1 [ <required> mixed $data ]
        Parameter #2 [ <optional> ?string $event = null ]
%A      - Return [ Push\Published ]
%A  - Classes [%d] {
%A    Class [ <internal:push> %Sclass Push\Exception\HubUnavailable extends RuntimeException implements %S ] {
%A
