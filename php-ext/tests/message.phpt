--TEST--
Push\Message keeps what it is given, and refuses what cannot be published
--EXTENSIONS--
push
--FILE--
<?php
function say(callable $call): void
{
    try {
        var_dump($call());
    } catch (Throwable $e) {
        echo get_class($e), ': ', $e->getMessage(), "\n";
    }
}

$message = new Push\Message('news', ['text' => 'x'], event: 'note', ttl: 60);
var_dump($message);
say(fn() => new Push\Message('', 'x'));
say(fn() => new Push\Message('news', 'x', "a\nb"));
say(fn() => new Push\Message('news', 'x', ttl: 0));
say(fn() => new Push\Message('news', 'x', dedupe: ''));
say(fn() => new Push\Message('news'));
say(fn() => new Push\Message([], 'x'));
say(fn() => $message->ttl = 7);
var_dump(clone $message == $message, unserialize(serialize($message)) == $message);
var_dump(eval('return ' . var_export($message, true) . ';') == $message);
?>
--EXPECTF--
object(Push\Message)#%d (10) {
  ["channel"]=>
  string(4) "news"
  ["data"]=>
  array(1) {
    ["text"]=>
    string(1) "x"
  }
  ["event"]=>
  string(4) "note"
  ["event_id"]=>
  NULL
  ["ttl"]=>
  int(60)
  ["store"]=>
  bool(true)
  ["dedupe"]=>
  NULL
  ["id"]=>
  NULL
  ["position"]=>
  NULL
  ["time"]=>
  NULL
}
ValueError: Push\Message::__construct(): Argument #1 ($channel) must not be empty
ValueError: Push\Message::__construct(): Argument #3 ($event) must not contain line breaks
ValueError: Push\Message::__construct(): Argument #5 ($ttl) must be between 1 and 4294967295
ValueError: Push\Message::__construct(): Argument #7 ($dedupe) must not be empty
ArgumentCountError: Push\Message::__construct() expects at least 2 arguments, 1 given
TypeError: Push\Message::__construct(): Argument #1 ($channel) must be of type string, array given
Error: Cannot modify readonly property Push\Message::$ttl
bool(true)
bool(true)
bool(true)
