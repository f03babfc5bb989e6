--TEST--
A child after pcntl_fork() has no hub, and its parent goes on
--EXTENSIONS--
push
pcntl
--INI--
push.mode=embedded
push.listen=127.0.0.1:0
--FILE--
<?php
push_publish('news', 'parent');
$pid = pcntl_fork();
if ($pid === 0) {
    foreach ([fn () => push_publish('news', 'child'), push_hub_address(...)] as $call) {
        try {
            $call();
        } catch (Push\Exception\HubUnavailable $e) {
            echo $e->getMessage(), "\n";
        }
    }
    exit;
}
pcntl_waitpid($pid, $status);
var_dump($status, push_publish('news', 'parent')->id);
?>
--EXPECTF--
this process was forked from process %d, whose threads are the hub, and a fork copies no threads: publish there, or run push-hub and let both attach to it (push.mode = attach)
this process was forked from process %d, whose threads are the hub, and a fork copies no threads: publish there, or run push-hub and let both attach to it (push.mode = attach)
int(0)
int(2)
