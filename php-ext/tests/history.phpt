--TEST--
The stored messages, oldest first, page by page
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-history/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
function say(callable $call): void
{
    try {
        var_dump($call());
    } catch (Throwable $e) {
        echo get_class($e), ': ', $e->getMessage(), "\n";
    }
}

start_hub();
foreach ([['n' => 1], "\0\xff", 'three'] as $data) {
    $positions[] = push_publish('news', $data, event: 'e')->position;
}
$messages = push_history('news');
var_dump(array_column($messages, 'data') === [['n' => 1], "\0\xff", 'three']);
var_dump(array_column($messages, 'position') === $positions, array_column($messages, 'id'));
var_dump($messages[0]->event, $messages[0]->channel, abs($messages[0]->time - time()) < 60);
$read = 0;
for ($after = null; $page = push_history('news', $after, 2); $after = end($page)->position) {
    $read += count($page);
}
var_dump($read, push_history('news', $positions[2]), push_history('nobody'));
say(fn() => push_history('news', 'yesterday'));
say(fn() => push_history('news', limit: 0));
?>
--EXPECT--
bool(true)
bool(true)
array(3) {
  [0]=>
  int(1)
  [1]=>
  int(2)
  [2]=>
  int(3)
}
string(1) "e"
string(4) "news"
bool(true)
int(3)
array(0) {
}
array(0) {
}
ValueError: push_history(): Argument #2 ($after) must be two numbers <time>.<tag>, as in 1767225600.3
ValueError: push_history(): Argument #3 ($limit) must be between 1 and 10000
