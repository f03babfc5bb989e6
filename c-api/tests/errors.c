/* Every documented error, and that handles can be used after it. */
#include "test.h"

static void statuses(void) {
    push_status status;
    for (status = PUSH_START_FAILED; status <= PUSH_INCOMPATIBLE; status++) {
        CHECK(strlen(push_status_text(status)) > 0);
        CHECK(strcmp(push_status_text(status), push_status_text(1000)) != 0);
    }
    CHECK(strcmp(push_status_text(PUSH_INCOMPATIBLE + 1), push_status_text(1000)) == 0);
    CHECK(strcmp(push_status_text(PUSH_START_FAILED - 1), push_status_text(1000)) == 0);
    CHECK(strstr(push_status_text(PUSH_HUB_UNAVAILABLE), "no hub answers") != NULL);
    CHECK(strstr(push_status_text(PUSH_TOO_LARGE), "max_message_size") != NULL);
}

#define IS_NULL(call, name) CHECK((call) == PUSH_NULL_ARGUMENT && said(name " is NULL"))

static void nulls(const push_client *client) {
    push_text text;
    push_bytes bytes;
    push_published published;
    push_channel *channel;
    push_channel_list *channels;
    push_message_list *messages;
    push_client *opened;
    push_subscription *subscription;
    push_message *message;
    char token[PUSH_TOKEN_SIZE];
    push_member *member;
    push_member_list *members;
    push_name_list *found;
    push_counters counters;
    bool online;
    push_config *config = push_config_new();
    char name[PUSH_NAME_SIZE];
    uint64_t number;
    push_text room = push_str("room");

    text.data = NULL;
    text.len = 1;
    bytes.data = NULL;
    bytes.len = 1;
    push_counters_init(&counters);
    IS_NULL(push_publish(NULL, room, push_str_data("x"), NULL, NULL), "client");
    IS_NULL(push_publish(client, text, push_str_data("x"), NULL, &published), "channel");
    IS_NULL(push_publish(client, room, bytes, NULL, &published), "payload");
    IS_NULL(push_publish_async(NULL, room, push_str_data("x"), NULL), "client");
    IS_NULL(push_publish_async(client, text, push_str_data("x"), NULL), "channel");
    IS_NULL(push_publish_async(client, room, bytes, NULL), "payload");
    IS_NULL(push_publish_many(NULL, NULL, 0, NULL), "client");
    IS_NULL(push_publish_many(client, NULL, 1, NULL), "messages");
    IS_NULL(push_create_channel(NULL, room, NULL, name, sizeof name), "client");
    IS_NULL(push_create_channel(client, text, NULL, name, sizeof name), "name");
    IS_NULL(push_create_channel(client, push_str(NULL), NULL, NULL, 0), "name_out");
    IS_NULL(push_delete_channel(NULL, room, push_data(NULL, 0), NULL), "client");
    IS_NULL(push_delete_channel(client, text, push_data(NULL, 0), NULL), "channel");
    IS_NULL(push_delete_channel(client, room, bytes, NULL), "message");
    IS_NULL(push_clear_channel(NULL, room, NULL), "client");
    IS_NULL(push_clear_channel(client, text, NULL), "channel");
    IS_NULL(push_channel_info(NULL, room, &channel), "client");
    IS_NULL(push_channel_info(client, text, &channel), "channel");
    IS_NULL(push_channel_info(client, room, NULL), "info_out");
    IS_NULL(push_channels(NULL, push_str(NULL), push_str(NULL), 1, &channels), "client");
    IS_NULL(push_channels(client, text, push_str(NULL), 1, &channels), "prefix");
    IS_NULL(push_channels(client, push_str(NULL), text, 1, &channels), "after");
    IS_NULL(push_channels(client, push_str(NULL), push_str(NULL), 1, NULL), "list_out");
    IS_NULL(push_history(NULL, room, 0, 1, &messages), "client");
    IS_NULL(push_history(client, text, 0, 1, &messages), "channel");
    IS_NULL(push_history(client, room, 0, 1, NULL), "list_out");
    IS_NULL(push_position(NULL, &number), "client");
    IS_NULL(push_position(client, NULL), "position_out");
    IS_NULL(push_position_text(0, NULL, 0), "text_out");
    IS_NULL(push_position_parse(text, &number), "text");
    IS_NULL(push_position_parse(push_str("1.2"), NULL), "position_out");
    IS_NULL(push_client_open(NULL, NULL), "client_out");
    IS_NULL(push_client_embedded(NULL, &opened), "hub");
    IS_NULL(push_client_ping(NULL, 1), "client");
    IS_NULL(push_client_status(NULL, &counters), "client");
    IS_NULL(push_client_status(client, NULL), "counters_out");
    IS_NULL(push_config_set(NULL, "listen", "none"), "config");
    IS_NULL(push_config_set(config, NULL, "none"), "key");
    IS_NULL(push_config_set(config, "listen", NULL), "value");
    IS_NULL(push_config_load(NULL, "/dev/null"), "config");
    IS_NULL(push_config_load(config, NULL), "file");
    IS_NULL(push_hub_start(NULL, NULL), "hub_out");
    OK(push_log_to(NULL, NULL));
    IS_NULL(push_hub_counters(NULL, &counters), "hub");
    IS_NULL(push_hub_drain(NULL), "hub");
    IS_NULL(push_subscribe(NULL, &room, 1, PUSH_POSITION_NOW, &subscription), "client");
    IS_NULL(push_subscribe(client, NULL, 1, PUSH_POSITION_NOW, &subscription), "channels");
    IS_NULL(push_subscribe(client, &text, 1, PUSH_POSITION_NOW, &subscription), "channels");
    IS_NULL(push_subscribe(client, &room, 1, PUSH_POSITION_NOW, NULL), "subscription_out");
    IS_NULL(push_subscription_next(NULL, &message), "subscription");
    IS_NULL(push_token(NULL, &room, 1, room, 0, push_str(NULL), false, token, sizeof token), "client");
    IS_NULL(push_token(client, NULL, 1, room, 0, push_str(NULL), false, token, sizeof token), "channels");
    IS_NULL(push_token(client, &text, 1, room, 0, push_str(NULL), false, token, sizeof token), "channels");
    IS_NULL(push_token(client, &room, 1, text, 0, push_str(NULL), false, token, sizeof token), "user");
    IS_NULL(push_token(client, &room, 1, room, 0, text, false, token, sizeof token), "info");
    IS_NULL(push_token(client, &room, 1, room, 0, push_str(NULL), false, NULL, sizeof token), "token_out");
    IS_NULL(push_disconnect(NULL, room, room, room, false, NULL), "client");
    IS_NULL(push_disconnect(client, text, room, room, false, NULL), "user");
    IS_NULL(push_disconnect(client, room, text, room, false, NULL), "channel");
    IS_NULL(push_disconnect(client, room, room, text, false, NULL), "reason");
    IS_NULL(push_presence_online(NULL, room, room, push_str(NULL), 0, NULL), "client");
    IS_NULL(push_presence_online(client, text, room, push_str(NULL), 0, NULL), "user");
    IS_NULL(push_presence_online(client, room, text, push_str(NULL), 0, NULL), "channel");
    IS_NULL(push_presence_online(client, room, room, text, 0, NULL), "info");
    IS_NULL(push_presence_offline(NULL, room, room, NULL), "client");
    IS_NULL(push_presence_offline(client, text, room, NULL), "user");
    IS_NULL(push_presence_offline(client, room, text, NULL), "channel");
    IS_NULL(push_presence_is_online(NULL, room, room, &online), "client");
    IS_NULL(push_presence_is_online(client, text, room, &online), "user");
    IS_NULL(push_presence_is_online(client, room, text, &online), "channel");
    IS_NULL(push_presence_is_online(client, room, room, NULL), "online_out");
    IS_NULL(push_presence_among(NULL, &room, 1, room, &found), "client");
    IS_NULL(push_presence_among(client, NULL, 1, room, &found), "users");
    IS_NULL(push_presence_among(client, &text, 1, room, &found), "users");
    IS_NULL(push_presence_among(client, &room, 1, text, &found), "channel");
    IS_NULL(push_presence_among(client, &room, 1, room, NULL), "list_out");
    IS_NULL(push_presence_get(NULL, room, room, &member), "client");
    IS_NULL(push_presence_get(client, text, room, &member), "user");
    IS_NULL(push_presence_get(client, room, text, &member), "channel");
    IS_NULL(push_presence_get(client, room, room, NULL), "member_out");
    IS_NULL(push_presence_members(NULL, room, room, 1, &members), "client");
    IS_NULL(push_presence_members(client, text, room, 1, &members), "channel");
    IS_NULL(push_presence_members(client, room, text, 1, &members), "after");
    IS_NULL(push_presence_members(client, room, room, 1, NULL), "list_out");
    IS_NULL(push_presence_count(NULL, room, &number), "client");
    IS_NULL(push_presence_count(client, text, &number), "channel");
    IS_NULL(push_presence_count(client, room, NULL), "count_out");
    IS_NULL(push_presence_channels(NULL, room, &found), "client");
    IS_NULL(push_presence_channels(client, text, &found), "user");
    IS_NULL(push_presence_channels(client, room, NULL), "list_out");
    push_config_free(config);

    push_config_free(NULL);
    push_client_free(NULL);
    push_subscription_free(NULL);
    push_message_free(NULL);
    CHECK(push_subscription_fd(NULL) == -1 && push_subscription_position(NULL) == 0 && push_message_type(NULL) == -1);
    push_channel_free(NULL);
    push_channel_list_free(NULL);
    push_message_list_free(NULL);
    push_hub_stop(NULL);
    CHECK(push_hub_address(NULL, 0) == NULL && push_hub_admin_address(NULL, 0) == NULL);
    CHECK(push_channel_list_count(NULL) == 0 && push_channel_list_borrow(NULL, 0) == NULL);
    CHECK(push_message_list_count(NULL) == 0 && push_message_list_borrow(NULL, 0) == NULL);
    CHECK(push_channel_name(NULL).len == 0 && push_channel_owner(NULL).len == 0 && push_channel_published(NULL) == 0);
    CHECK(push_channel_stored(NULL) == 0 && push_channel_subscribers(NULL) == 0 && push_channel_ttl(NULL) == 0);
    CHECK(push_channel_position(NULL) == 0 && push_message_id(NULL) == 0 && push_message_position(NULL) == 0);
    CHECK(push_message_channel(NULL).len == 0 && push_message_payload(NULL).len == 0 && !push_message_is_json(NULL));
    CHECK(push_message_event(NULL).len == 0 && push_message_event_id(NULL).len == 0);
    push_member_free(NULL);
    push_member_list_free(NULL);
    push_name_list_free(NULL);
    CHECK(push_member_list_count(NULL) == 0 && push_member_list_borrow(NULL, 0) == NULL);
    CHECK(push_name_list_count(NULL) == 0 && push_name_list_borrow(NULL, 0).len == 0);
    CHECK(push_member_user(NULL).len == 0 && push_member_info(NULL).len == 0);
    CHECK(push_member_connections(NULL) == 0 && push_member_since(NULL) == 0);
}

static push_status publish(const push_client *client, push_text channel) {
    return push_publish(client, channel, push_str_data("x"), NULL, NULL);
}

static void names(const push_client *client) {
    static char long_name[2000];
    push_text text;
    memset(long_name, 'x', sizeof long_name - 1);
    CHECK(publish(client, push_str(NULL)) == PUSH_INVALID_NAME && said("empty"));
    CHECK(publish(client, push_str("")) == PUSH_INVALID_NAME && said("empty"));
    CHECK(publish(client, push_str("a/b")) == PUSH_INVALID_NAME && said("\"/\""));
    CHECK(publish(client, push_str("a*")) == PUSH_INVALID_NAME && said("reserved"));
    CHECK(publish(client, push_str("ALL")) == PUSH_INVALID_NAME && said("reserved"));
    CHECK(publish(client, push_str("\xff")) == PUSH_INVALID_NAME && said("UTF-8"));
    CHECK(publish(client, push_str(long_name)) == PUSH_INVALID_NAME && said("1999 bytes"));
    text.data = "a\0b";
    text.len = 3;
    CHECK(publish(client, text) == PUSH_INVALID_NAME && said("NUL"));
    CHECK(push_publish_async(client, push_str("a/b"), push_str_data("x"), NULL) == PUSH_INVALID_NAME);
    CHECK(push_clear_channel(client, push_str(""), NULL) == PUSH_INVALID_NAME);
    CHECK(push_delete_channel(client, push_str("a/b"), push_data(NULL, 0), NULL) == PUSH_INVALID_NAME);
    CHECK(push_create_channel(client, push_str("a/b"), NULL, NULL, 0) == PUSH_INVALID_NAME);
    text = push_str("a/b");
    {
        push_subscription *subscription = NULL;
        CHECK(push_subscribe(client, &text, 1, PUSH_POSITION_NOW, &subscription) == PUSH_INVALID_NAME);
        CHECK(push_subscribe(client, NULL, 0, PUSH_POSITION_NOW, &subscription) == PUSH_INVALID_ARGUMENT && said("at least one"));
        CHECK(subscription == NULL);
    }
    OK(publish(client, push_str("after-the-errors")));
}

static void arguments(const push_client *client) {
    struct {
        push_publish_options known;
        size_t unknown;
    } newer;
    push_publish_options options;
    push_channel_options channel;
    push_channel_list *channels = NULL;
    push_message_list *messages = NULL;
    push_counters counters;
    push_text room = push_str("room");
    push_bytes data = push_str_data("x");
    uint64_t position = 5;
    char small[4];

    push_publish_options_init(&options);
    options.flags = 4;
    CHECK(push_publish(client, room, data, &options, NULL) == PUSH_INVALID_ARGUMENT && said("flags are 0x4"));
    push_publish_options_init(&options);
    options.event = push_str("two\nlines");
    CHECK(push_publish(client, room, data, &options, NULL) == PUSH_INVALID_ARGUMENT && said("event must be"));
    options.event = push_str("\xff");
    CHECK(push_publish_async(client, room, data, &options) == PUSH_INVALID_ARGUMENT && said("event must be valid UTF-8"));
    options.size = 3;
    CHECK(push_publish(client, room, data, &options, NULL) == PUSH_INVALID_ARGUMENT && said("size is 3"));
    memset(&newer, 0, sizeof newer);
    newer.known.size = sizeof newer;
    OK(push_publish(client, room, data, &newer.known, NULL));
    newer.unknown = 1;
    CHECK(push_publish(client, room, data, &newer.known, NULL) == PUSH_INVALID_ARGUMENT && said("newer"));
    push_channel_options_init(&channel);
    channel.flags = 3;
    CHECK(push_create_channel(client, room, &channel, NULL, 0) == PUSH_INVALID_ARGUMENT && said("flags are 0x3"));
    CHECK(push_create_channel(client, room, NULL, small, sizeof small) == PUSH_INVALID_ARGUMENT && said("5 are needed"));
    CHECK(push_create_channel(client, push_str(NULL), NULL, small, sizeof small) == PUSH_INVALID_ARGUMENT && said("32"));
    CHECK(push_channels(client, room, room, 0, &channels) == PUSH_INVALID_ARGUMENT && said("limit is 0"));
    CHECK(push_channels(client, room, room, PUSH_MAX_PAGE + 1, &channels) == PUSH_INVALID_ARGUMENT);
    CHECK(push_history(client, room, 0, 0, &messages) == PUSH_INVALID_ARGUMENT && said("limit is 0"));
    CHECK(channels == NULL && messages == NULL);
    CHECK(push_position_text(0, small, 3) == PUSH_INVALID_ARGUMENT && said("4 are needed"));
    CHECK(push_position_parse(push_str("now"), &position) == PUSH_INVALID_ARGUMENT && said("<time>.<tag>"));
    CHECK(push_position_parse(push_str(NULL), &position) == PUSH_INVALID_ARGUMENT && position == 5);
    CHECK(push_client_ping(client, 0) == PUSH_INVALID_ARGUMENT);
    counters.size = 0;
    CHECK(push_client_status(client, &counters) == PUSH_INVALID_ARGUMENT && said("initialize"));
}

static void access(const push_client *client) {
    char token[PUSH_TOKEN_SIZE] = "as it was";
    push_text none = push_str(NULL);
    push_text ann = push_str("ann");
    push_text room = push_str("room");
    push_text wrong[2];
    uint64_t count = 7;
    wrong[0] = room;
    wrong[1] = push_str("a*b");
    CHECK(push_token(client, &room, 0, ann, 0, none, false, token, sizeof token) == PUSH_INVALID_ARGUMENT && said("at least one channel"));
    CHECK(push_token(client, wrong, 2, ann, 0, none, false, token, sizeof token) == PUSH_INVALID_NAME && said("reserved"));
    CHECK(push_token(client, &none, 1, ann, 0, none, false, token, sizeof token) == PUSH_INVALID_NAME && said("empty"));
    CHECK(push_token(client, &room, 1, ann, 2592001, none, false, token, sizeof token) == PUSH_INVALID_ARGUMENT && said("30 days"));
    CHECK(push_token(client, &room, 1, ann, 0, push_str("[]"), false, token, sizeof token) == PUSH_INVALID_ARGUMENT && said("JSON object"));
    CHECK(push_token(client, &room, 1, none, 0, push_str("{}"), false, token, sizeof token) == PUSH_INVALID_ARGUMENT && said("names none"));
    CHECK(push_token(client, &room, 1, ann, 0, none, false, token, PUSH_TOKEN_SIZE - 1) == PUSH_INVALID_ARGUMENT && said("token_out"));
    CHECK(strcmp(token, "as it was") == 0);
    CHECK(push_disconnect(client, none, none, none, true, &count) == PUSH_INVALID_ARGUMENT && said("everybody"));
    CHECK(push_disconnect(client, ann, push_str("a/b"), none, true, &count) == PUSH_INVALID_NAME);
    CHECK(push_disconnect(client, ann, none, push_str("a\nb"), true, &count) == PUSH_INVALID_ARGUMENT && said("one line"));
    CHECK(count == 7);
}

static void presence(const push_client *client) {
    push_text users[2];
    push_text room = push_str("room");
    push_text ann = push_str("ann");
    push_text none = push_str(NULL);
    push_text slash = push_str("a/b");
    push_text latin = push_str("\xff");
    push_member_list *members = NULL;
    push_member *member = NULL;
    push_name_list *names = NULL;
    uint64_t count = 7;
    bool is_online = true;
    users[0] = ann;
    users[1] = none;
    CHECK(push_presence_online(client, none, room, none, 0, NULL) == PUSH_INVALID_ARGUMENT && said("the user must not be empty"));
    CHECK(push_presence_online(client, latin, room, none, 0, NULL) == PUSH_INVALID_ARGUMENT && said("user must be valid UTF-8"));
    CHECK(push_presence_online(client, ann, slash, none, 0, NULL) == PUSH_INVALID_NAME && said("\"/\""));
    CHECK(push_presence_online(client, ann, room, push_str("7"), 0, NULL) == PUSH_INVALID_ARGUMENT && said("info"));
    CHECK(push_presence_online(client, ann, room, push_str("{"), 0, NULL) == PUSH_INVALID_ARGUMENT && said("info"));
    CHECK(push_presence_offline(client, none, room, NULL) == PUSH_INVALID_ARGUMENT);
    CHECK(push_presence_offline(client, ann, slash, NULL) == PUSH_INVALID_NAME);
    CHECK(push_presence_is_online(client, none, room, &is_online) == PUSH_INVALID_ARGUMENT && is_online);
    CHECK(push_presence_is_online(client, ann, slash, &is_online) == PUSH_INVALID_NAME && is_online);
    CHECK(push_presence_among(client, users, 2, room, &names) == PUSH_INVALID_ARGUMENT && said("empty") && names == NULL);
    CHECK(push_presence_among(client, users, 1, slash, &names) == PUSH_INVALID_NAME && names == NULL);
    CHECK(push_presence_get(client, none, room, &member) == PUSH_INVALID_ARGUMENT && member == NULL);
    CHECK(push_presence_get(client, ann, slash, &member) == PUSH_INVALID_NAME && member == NULL);
    CHECK(push_presence_members(client, room, none, 0, &members) == PUSH_INVALID_ARGUMENT && said("limit is 0"));
    CHECK(push_presence_members(client, slash, none, 1, &members) == PUSH_INVALID_NAME && members == NULL);
    CHECK(push_presence_count(client, slash, &count) == PUSH_INVALID_NAME && count == 7);
    CHECK(push_presence_channels(client, none, &names) == PUSH_INVALID_ARGUMENT && names == NULL);
    OK(push_presence_count(client, room, &count));
    CHECK(count == 0);
}

static void sizes(const push_client *client) {
    const size_t len = 17 << 20;
    char *large = (char *)calloc(1, len * 2);
    push_publication messages[2];
    size_t at;
    push_text room = push_str("sizes");
    CHECK(push_publish(client, room, push_data(large, (1 << 20) + 1), NULL, NULL) == PUSH_TOO_LARGE && said("max_message_size"));
    CHECK(push_publish(client, room, push_data(large, len * 2), NULL, NULL) == PUSH_TOO_LARGE);
    CHECK(push_publish_async(client, room, push_data(large, len * 2), NULL) == PUSH_TOO_LARGE);
    CHECK(push_delete_channel(client, room, push_data(large, len * 2), NULL) == PUSH_TOO_LARGE);
    for (at = 0; at < 2; at++) {
        messages[at].channel = room;
        messages[at].payload = push_data(large, len / 2);
        messages[at].options = NULL;
    }
    CHECK(push_publish_many(client, messages, 2, NULL) == PUSH_TOO_LARGE);
    messages[0].payload = push_str_data("not published");
    messages[1].payload = push_data(large, (1 << 20) + 1);
    CHECK(push_publish_many(client, messages, 2, NULL) == PUSH_TOO_LARGE);
    {
        push_channel *info = NULL;
        CHECK(push_channel_info(client, room, &info) == PUSH_CHANNEL_NOT_FOUND && info == NULL);
    }
    free(large);
}

static void configurations(const char *dir) {
    char path[4096];
    push_config *config = push_config_new();
    push_hub *hub = NULL;
    FILE *file;
    CHECK(push_config_set(config, "message_tlt", "1m") == PUSH_INVALID_CONFIG && said("did you mean message_ttl"));
    CHECK(push_config_set(config, "message_ttl", "soon") == PUSH_INVALID_CONFIG && said("message_ttl = \"soon\""));
    CHECK(push_config_set(config, "message_ttl", "\xff") == PUSH_INVALID_ARGUMENT && said("value must be valid UTF-8"));
    CHECK(push_config_set(config, "\xff", "1m") == PUSH_INVALID_ARGUMENT && said("key must be valid UTF-8"));
    CHECK(push_config_load(config, "/nonexistent.toml") == PUSH_INVALID_CONFIG && said("/nonexistent.toml"));
    snprintf(path, sizeof path, "%s/wrong.toml", dir);
    file = fopen(path, "w");
    fputs("listen = \"127.0.0.1:0\"\nmessage_ttl = \"soon\"\n", file);
    fclose(file);
    CHECK(push_config_load(config, path) == PUSH_INVALID_CONFIG && said("wrong.toml:2"));
    snprintf(path, sizeof path, "%s/right.toml", dir);
    file = fopen(path, "w");
    fputs("listen = \"127.0.0.1:0\"\nlog_level = \"error\"\n", file);
    fclose(file);
    OK(push_config_load(config, path));
    OK(push_config_set(config, "max_message_size", "2m"));
    OK(push_config_set(config, "memory_limit", "1m"));
    CHECK(push_hub_start(config, &hub) == PUSH_START_FAILED && said("memory_limit"));
    CHECK(hub == NULL);
    OK(push_config_set(config, "memory_limit", "16m"));
    OK(push_config_set(config, "max_number_of_channels", "1"));
    OK(push_hub_start(config, &hub));
    {
        push_client *client = NULL;
        push_hub *second = NULL;
        push_counters counters;
        OK(push_client_embedded(hub, &client));
        OK(publish(client, push_str("first")));
        CHECK(publish(client, push_str("second")) == PUSH_LIMIT_EXCEEDED && said("max_number_of_channels"));
        CHECK(push_create_channel(client, push_str("second"), NULL, NULL, 0) == PUSH_LIMIT_EXCEEDED);
        IS_NULL(push_client_embedded(hub, NULL), "client_out");
        IS_NULL(push_hub_counters(hub, NULL), "counters_out");
        counters.size = 0;
        CHECK(push_hub_counters(hub, &counters) == PUSH_INVALID_ARGUMENT);
        OK(push_config_set(config, "listen", push_hub_address(hub, 0)));
        CHECK(push_hub_start(config, &second) == PUSH_START_FAILED && said(push_hub_address(hub, 0)) && second == NULL);
        push_client_free(client);
    }
    push_hub_stop(hub);
    push_config_free(config);
}

static void no_hub(const char *dir) {
    char path[4096];
    push_client *client = NULL;
    push_config *config;
    uint64_t position = 7;
    snprintf(path, sizeof path, "%s/nobody.sock", dir);
    config = configured(path);
    OK(push_client_open(config, &client));
    CHECK(push_position(client, &position) == PUSH_HUB_UNAVAILABLE && said("there is no hub at") && position == 7);
    CHECK(publish(client, push_str("room")) == PUSH_HUB_UNAVAILABLE);
    CHECK(push_publish_async(client, push_str("room"), push_str_data("x"), NULL) == PUSH_HUB_UNAVAILABLE);
    CHECK(push_client_ping(client, 10) == PUSH_HUB_UNAVAILABLE);
    push_client_free(client);
    push_config_free(config);
}

int main(int argc, char **argv) {
    push_hub *hub;
    push_client *client;
    CHECK(argc == 3);
    statuses();
    client = reach(argv[1], &hub);
    nulls(client);
    names(client);
    arguments(client);
    access(client);
    presence(client);
    sizes(client);
    configurations(argv[2]);
    no_hub(argv[2]);
    OK(push_client_ping(client, 5000));
    push_client_free(client);
    push_hub_stop(hub);
    return failures == 0 ? 0 : 1;
}
