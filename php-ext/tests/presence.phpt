--TEST--
Who is online: users set online and offline, read one by one and page by page
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-presence/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
function say(mixed $value): void
{
    echo json_encode($value), "\n";
}
start_hub();

say([push_presence_is_online(7, 'lobby'), push_presence_get(7, 'lobby'), push_presence_members('lobby'), push_presence_count('lobby')]);
say(push_presence_online(7, 'lobby', ['nick' => 'Ann']));
say(push_presence_online('7', 'lobby', ['nick' => 'Ann']));
say(push_presence_online('7', 'lobby'));
say(push_presence_online(7, 'lobby', ['nick' => 'Anna']));
say(push_presence_online('bob', channel: 'lobby', ttl: 30));
say(push_presence_online('bob', 'den', ['a', ['b']]));

$ann = push_presence_get(7, 'lobby');
var_dump($ann::class, $ann->user, $ann->info, $ann->connections, abs(time() - $ann->since) <= 2);
say(push_presence_get('bob', 'den')->info);
say(push_presence_get('bob', 'lobby')->info);
say(push_presence_among(['bob', 'nobody', 7], 'lobby'));
say(push_presence_among([]));
say(array_column(push_presence_members('lobby'), 'user'));
say(array_column(push_presence_members('lobby', 1, '7'), 'user'));
say([push_presence_count('lobby'), push_presence_count('den'), push_presence_count()]);
say(push_presence_channels('bob'));

say([push_presence_online(7), push_presence_is_online('7'), push_presence_is_online('bob')]);
// What is said of a user has a limit; what was said before stays.
foreach ([2040, 2041] as $length) {
    try {
        say(push_presence_online('bob', 'den', ['x' => str_repeat('y', $length)]));
    } catch (ValueError $e) {
        echo $e->getMessage(), "\n";
    }
    say(strlen(push_presence_get('bob', 'den')->info['x']));
}
// The site and each channel are places of their own.
say([push_presence_offline(7), push_presence_offline(7), push_presence_is_online(7), push_presence_is_online(7, 'lobby')]);
say([push_presence_offline('bob', 'den'), push_presence_count('den'), push_presence_channels('bob')]);

// The lease ends.
push_presence_online('short', 'den', ttl: 1);
wait_for(fn (): bool => !push_presence_is_online('short', 'den'), 'the lease is over');

// A channel can do without.
push_presence_online('bob', 'den');
say([push_create_channel(name: 'den', presence: false), push_presence_members('den'), push_presence_is_online('bob', 'den')]);
try {
    push_presence_online('bob', 'den');
} catch (ValueError $e) {
    echo $e->getMessage(), "\n";
}
say([create_channel(name: 'den'), push_presence_online('bob', 'den')]);

eval('$copy = ' . var_export($ann, true) . ';');
var_dump($copy == $ann);
?>
--EXPECT--
[false,null,[],0]
true
false
false
true
true
true
string(11) "Push\Member"
string(1) "7"
array(1) {
  ["nick"]=>
  string(4) "Anna"
}
int(0)
bool(true)
["a",["b"]]
[]
["bob","7"]
[]
["7","bob"]
["bob"]
[2,1,0]
["den","lobby"]
[true,true,false]
true
2040
info has 2049 bytes as JSON, allowed are 2048
2040
[true,false,false,true]
[true,0,["lobby"]]
["den",[],false]
the channel was created without presence: nobody is online in it
["den",true]
bool(true)
