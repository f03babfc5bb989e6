--TEST--
A port in use is named, with the cure
--EXTENSIONS--
push
--INI--
push.mode=embedded
push.listen=127.0.0.1:0
--FILE--
<?php
// Another PHP, with the extension from where this one has it.
$address = push_hub_address();
$code = 'try { push_position(); } catch (Push\Exception\HubUnavailable $e) { echo $e->getMessage(); }';
preg_match('~\S*push\S*\.so$~m', file_get_contents('/proc/self/maps'), $extension);
$settings = ['-d', "extension=$extension[0]", '-d', 'push.mode=embedded', '-d', "push.listen=$address"];
$child = proc_open([PHP_BINARY, '-n', ...$settings, '-r', $code], [1 => ['pipe', 'w']], $pipes);
echo str_replace($address, 'ADDRESS', stream_get_contents($pipes[1])), "\n";
?>
--EXPECTF--
no hub was started in this process: listen: cannot listen on ADDRESS: %s: `ss -ltnp` shows what uses it; stop that or set another listen
