--TEST--
A child after pcntl_fork() calls over a connection of its own
--EXTENSIONS--
push
pcntl
posix
--INI--
push.socket={TMP}/push-phpt-fork/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();
push_publish('news', 'parent');
$pid = pcntl_fork();
if ($pid === 0) {
    push_publish('news', 'child');
    posix_kill(getmypid(), SIGKILL);
}
pcntl_waitpid($pid, $status);
var_dump(pcntl_wtermsig($status) === SIGKILL);
var_dump(push_publish('news', 'parent')->id, push_channel_info('news')->stored);
?>
--EXPECT--
bool(true)
int(3)
int(3)
