--TEST--
A hub that does not answer costs one time-out
--EXTENSIONS--
push
posix
--INI--
push.socket={TMP}/push-phpt-hub_stopped/hub.sock
push.timeout=200ms
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();
$pid = push_status()['pid'];
posix_kill($pid, SIGSTOP);
try {
    wait_for(fn() => preg_match('/^State:\s+T/m', file_get_contents("/proc/$pid/status")), 'the hub stops');
    $start = hrtime(true);
    foreach ([1, 2, 3] as $call) {
        try {
            push_position();
        } catch (Push\Exception\Timeout $e) {
            echo $e->getMessage(), "\n";
        }
    }
    $ms = (hrtime(true) - $start) / 1e6;
    var_dump($ms >= 200 && $ms < 600);
    var_dump(push_ping(0.05));
} finally {
    posix_kill($pid, SIGCONT);
}
wait_for(push_ping(...), 'the hub answers again');
var_dump(push_publish('news', 'x')->id);
?>
--EXPECTF--
%Athe hub did not answer within 200 ms (push.timeout)%A
bool(true)
bool(false)
int(1)
