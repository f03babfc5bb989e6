/* Every function does what push.h says, with a hub of its own and with one in this process. */
#include "test.h"

static void versions(void) {
    CHECK(strcmp(push_version(), PUSH_VERSION) == 0);
    CHECK(push_version() == push_version());
    CHECK(push_version_number() == PUSH_VERSION_NUMBER);
}

static void positions(void) {
    char text[PUSH_POSITION_SIZE];
    uint64_t position = 1;
    OK(push_position_text(((uint64_t)1767225600 << 32) | 3, text, sizeof text));
    CHECK(strcmp(text, "1767225600.3") == 0);
    OK(push_position_parse(push_str(text), &position));
    CHECK(PUSH_POSITION_TIME(position) == 1767225600 && PUSH_POSITION_TAG(position) == 3);
    OK(push_position_text(PUSH_POSITION_NOW, text, sizeof text));
    CHECK(strcmp(text, "4294967295.4294967295") == 0);
    OK(push_position_text(PUSH_POSITION_START, text, 4));
    CHECK(strcmp(text, "0.0") == 0);
    OK(push_position_parse(push_str(text), &position));
    CHECK(position == PUSH_POSITION_START);
}

static void publishing(const push_client *client) {
    push_published first, second, same;
    push_publish_options options;
    push_message_list *page = NULL;
    const push_message *message;

    OK(push_publish(client, push_str("api"), push_str_data("one"), NULL, &first));
    CHECK(first.id == 1 && first.position != 0 && first.subscribers == 0);
    push_publish_options_init(&options);
    options.event = push_str("event");
    options.event_id = push_str("id-2");
    options.dedupe = push_str("key");
    options.ttl = 60;
    options.flags = PUSH_JSON;
    OK(push_publish(client, push_str("api"), push_str_data("{\"a\":1}"), &options, &second));
    CHECK(second.id == 2 && second.position > first.position);
    OK(push_publish(client, push_str("api"), push_str_data("{\"a\":1}"), &options, &same));
    CHECK(same.id == second.id && same.position == second.position);
    push_publish_options_init(&options);
    options.flags = PUSH_UNSTORED;
    OK(push_publish(client, push_str("api"), push_str_data("gone"), &options, NULL));
    OK(push_publish_async(client, push_str("api"), push_str_data("three"), NULL));
    OK(push_publish_async(client, push_str("api"), push_data(NULL, 0), NULL));

    OK(push_history(client, push_str("api"), PUSH_POSITION_START, 10, &page));
    CHECK(push_message_list_count(page) == 4);
    message = push_message_list_borrow(page, 0);
    CHECK(is(push_message_channel(message), "api"));
    CHECK(holds(push_message_payload(message), "one", 3));
    CHECK(!push_message_is_json(message));
    CHECK(push_message_event(message).len == 0 && push_message_event_id(message).len == 0);
    CHECK(push_message_id(message) == 1 && push_message_position(message) == first.position);
    message = push_message_list_borrow(page, 1);
    CHECK(holds(push_message_payload(message), "{\"a\":1}", 7));
    CHECK(push_message_is_json(message));
    CHECK(is(push_message_event(message), "event") && is(push_message_event_id(message), "id-2"));
    CHECK(holds(push_message_payload(push_message_list_borrow(page, 2)), "three", 5));
    CHECK(holds(push_message_payload(push_message_list_borrow(page, 3)), NULL, 0));
    CHECK(push_message_list_borrow(page, 4) == NULL);
    push_message_list_free(page);

    OK(push_history(client, push_str("api"), first.position, 1, &page));
    CHECK(push_message_list_count(page) == 1);
    CHECK(push_message_position(push_message_list_borrow(page, 0)) == second.position);
    push_message_list_free(page);
    OK(push_history(client, push_str("nothing"), PUSH_POSITION_START, 1, &page));
    CHECK(push_message_list_count(page) == 0);
    push_message_list_free(page);
}

static void batches(const push_client *client) {
    push_publication messages[2];
    push_published published[2];
    push_publish_options options;
    push_publish_options_init(&options);
    options.ttl = 5;
    messages[0].channel = push_str("many-a");
    messages[0].payload = push_str_data("1");
    messages[0].options = NULL;
    messages[1].channel = push_str("many-b");
    messages[1].payload = push_str_data("2");
    messages[1].options = &options;
    OK(push_publish_many(client, messages, 2, published));
    CHECK(published[0].id == 1 && published[1].id == 1 && published[0].position < published[1].position);
    OK(push_publish_many(client, messages, 2, NULL));
    OK(push_publish_many(client, NULL, 0, NULL));
}

static void binary(const push_client *client) {
    const size_t len = 1 << 20;
    unsigned char *payload = (unsigned char *)malloc(len);
    push_message_list *page = NULL;
    size_t at;
    for (at = 0; at < len; at++) {
        payload[at] = (unsigned char)(at * 31 >> 3);
    }
    OK(push_publish(client, push_str("binary"), push_data(payload, len), NULL, NULL));
    OK(push_publish_async(client, push_str("binary"), push_data("\0a\0", 3), NULL));
    OK(push_history(client, push_str("binary"), PUSH_POSITION_START, 1, &page));
    CHECK(holds(push_message_payload(push_message_list_borrow(page, 0)), payload, len));
    {
        push_message_list *next = NULL;
        uint64_t after = push_message_position(push_message_list_borrow(page, 0));
        OK(push_history(client, push_str("binary"), after, 1, &next));
        push_message_list_free(page);
        page = next;
    }
    CHECK(holds(push_message_payload(push_message_list_borrow(page, 0)), "\0a\0", 3));
    push_message_list_free(page);
    free(payload);
}

static void channels(const push_client *client) {
    push_channel_options options;
    push_channel *channel = NULL;
    push_channel_list *page = NULL;
    char name[PUSH_GENERATED_NAME_SIZE];
    char own[8];
    uint64_t count = 9;
    uint64_t position = 0;
    bool existed = false;

    OK(push_create_channel(client, push_str(NULL), NULL, name, sizeof name));
    CHECK(strlen(name) == 22);
    OK(push_channel_info(client, push_str(name), &channel));
    CHECK(is(push_channel_name(channel), name) && push_channel_owner(channel).len == 0);
    CHECK(push_channel_ttl(channel) == 24 * 3600);
    push_channel_free(channel);

    push_channel_options_init(&options);
    options.owner = push_str("7");
    options.ttl = 100;
    options.max_messages = 2;
    options.message_ttl = 50;
    OK(push_create_channel(client, push_str("ch-own"), &options, own, sizeof own));
    CHECK(strcmp(own, "ch-own") == 0);
    OK(push_create_channel(client, push_str("ch-own2"), NULL, NULL, 0));
    OK(push_publish(client, push_str("ch-own"), push_str_data("1"), NULL, NULL));
    OK(push_publish(client, push_str("ch-own"), push_str_data("2"), NULL, NULL));
    OK(push_publish(client, push_str("ch-own"), push_str_data("3"), NULL, NULL));
    OK(push_position(client, &position));
    OK(push_channel_info(client, push_str("ch-own"), &channel));
    CHECK(is(push_channel_owner(channel), "7") && push_channel_ttl(channel) == 100);
    CHECK(push_channel_published(channel) == 3 && push_channel_stored(channel) == 2);
    CHECK(push_channel_subscribers(channel) == 0 && push_channel_position(channel) == position);
    push_channel_free(channel);

    OK(push_channels(client, push_str("ch-"), push_str(NULL), 1, &page));
    CHECK(push_channel_list_count(page) == 1);
    CHECK(is(push_channel_name(push_channel_list_borrow(page, 0)), "ch-own"));
    CHECK(push_channel_list_borrow(page, 1) == NULL);
    push_channel_list_free(page);
    OK(push_channels(client, push_str("ch-"), push_str("ch-own"), PUSH_MAX_PAGE, &page));
    CHECK(push_channel_list_count(page) == 1);
    CHECK(is(push_channel_name(push_channel_list_borrow(page, 0)), "ch-own2"));
    push_channel_list_free(page);

    OK(push_clear_channel(client, push_str("ch-own"), &count));
    CHECK(count == 2);
    OK(push_clear_channel(client, push_str("ch-own"), NULL));
    OK(push_clear_channel(client, push_str("nothing"), &count));
    CHECK(count == 0);

    OK(push_delete_channel(client, push_str("ch-own"), push_str_data("bye"), &existed));
    CHECK(existed);
    OK(push_delete_channel(client, push_str("ch-own"), push_data(NULL, 0), &existed));
    CHECK(!existed);
    OK(push_delete_channel(client, push_str("ch-own2"), push_data(NULL, 0), NULL));
    CHECK(push_channel_info(client, push_str("ch-own"), &channel) == PUSH_CHANNEL_NOT_FOUND && said("ch-own"));
}

static void access(const push_client *client) {
    char token[PUSH_TOKEN_SIZE];
    push_text channels[2];
    uint64_t count = 7;
    channels[0] = push_str("lobby");
    channels[1] = push_str("news.*");
    OK(push_token(client, channels, 2, push_str("ann"), 60, push_str("{\"nick\":\"Ann\"}"), true, token, sizeof token));
    CHECK(strncmp(token, "eyJ", 3) == 0 && strchr(token, '.') != strrchr(token, '.'));
    OK(push_token(client, channels, 1, push_str(NULL), 0, push_str(NULL), false, token, sizeof token));
    OK(push_disconnect(client, push_str("ann"), push_str(NULL), push_str("bye"), true, &count));
    CHECK(count == 0);
    OK(push_disconnect(client, push_str("ann"), push_str("lobby"), push_str(NULL), false, NULL));
}

static void presence(const push_client *client) {
    push_channel_options options;
    push_text users[3];
    push_member *member = NULL;
    push_member_list *page = NULL;
    push_name_list *names = NULL;
    uint64_t count = 9;
    bool changed = false;
    bool online = true;
    push_text site = push_str(NULL);
    push_text lobby = push_str("pr-lobby");

    OK(push_presence_is_online(client, push_str("ann"), lobby, &online));
    CHECK(!online);
    OK(push_presence_get(client, push_str("ann"), lobby, &member));
    CHECK(member == NULL);
    OK(push_presence_online(client, push_str("ann"), lobby, push_str("{\"nick\":\"Ann\"}"), 60, &changed));
    CHECK(changed);
    OK(push_presence_online(client, push_str("ann"), lobby, push_str(NULL), 60, &changed));
    CHECK(!changed);
    OK(push_presence_online(client, push_str("bob"), lobby, push_str(NULL), 0, NULL));
    OK(push_presence_online(client, push_str("ann"), site, push_str(NULL), 0, &changed));
    CHECK(changed);
    OK(push_presence_is_online(client, push_str("ann"), lobby, &online));
    CHECK(online);
    OK(push_presence_count(client, lobby, &count));
    CHECK(count == 2);
    OK(push_presence_count(client, site, &count));
    CHECK(count >= 1);

    OK(push_presence_get(client, push_str("ann"), lobby, &member));
    CHECK(is(push_member_user(member), "ann") && is(push_member_info(member), "{\"nick\":\"Ann\"}"));
    CHECK(push_member_connections(member) == 0 && push_member_since(member) > 1767225600);
    push_member_free(member);

    users[0] = push_str("bob");
    users[1] = push_str("nobody");
    users[2] = push_str("ann");
    OK(push_presence_among(client, users, 3, lobby, &names));
    CHECK(push_name_list_count(names) == 2);
    CHECK(is(push_name_list_borrow(names, 0), "bob") && is(push_name_list_borrow(names, 1), "ann"));
    CHECK(push_name_list_borrow(names, 2).len == 0);
    push_name_list_free(names);
    OK(push_presence_among(client, NULL, 0, site, &names));
    CHECK(push_name_list_count(names) == 0);
    push_name_list_free(names);

    OK(push_presence_members(client, lobby, push_str(NULL), 1, &page));
    CHECK(push_member_list_count(page) == 1 && is(push_member_user(push_member_list_borrow(page, 0)), "ann"));
    CHECK(push_member_list_borrow(page, 1) == NULL);
    push_member_list_free(page);
    OK(push_presence_members(client, lobby, push_str("ann"), PUSH_MAX_PAGE, &page));
    CHECK(push_member_list_count(page) == 1 && is(push_member_user(push_member_list_borrow(page, 0)), "bob"));
    CHECK(is(push_member_info(push_member_list_borrow(page, 0)), "{}"));
    push_member_list_free(page);

    OK(push_presence_channels(client, push_str("ann"), &names));
    CHECK(push_name_list_count(names) == 1 && is(push_name_list_borrow(names, 0), "pr-lobby"));
    push_name_list_free(names);

    OK(push_presence_offline(client, push_str("ann"), lobby, &changed));
    CHECK(changed);
    OK(push_presence_offline(client, push_str("ann"), lobby, &changed));
    CHECK(!changed);
    OK(push_presence_is_online(client, push_str("ann"), site, &online));
    CHECK(online);
    OK(push_presence_offline(client, push_str("ann"), site, NULL));
    OK(push_presence_offline(client, push_str("bob"), lobby, NULL));
    OK(push_presence_count(client, lobby, &count));
    CHECK(count == 0);

    push_channel_options_init(&options);
    options.flags = PUSH_WITHOUT_PRESENCE;
    OK(push_create_channel(client, lobby, &options, NULL, 0));
    OK(push_presence_count(client, lobby, &count));
    CHECK(count == 0);
    CHECK(push_presence_online(client, push_str("ann"), lobby, push_str(NULL), 0, NULL) == PUSH_INVALID_ARGUMENT);
    CHECK(said("without presence"));
}

static void state(const push_client *client, const push_hub *hub, const char *where) {
    push_counters counters;
    uint64_t position = 0;
    OK(push_client_ping(client, 5000));
    push_counters_init(&counters);
    OK(push_client_status(client, &counters));
    CHECK(counters.size == sizeof counters && counters.pid > 0 && strcmp(counters.version, PUSH_VERSION) == 0);
    CHECK(counters.channels > 0 && counters.messages > 0 && counters.memory > 0 && counters.subscribers == 0);
    CHECK(strcmp(counters.socket, hub == NULL ? where : "") == 0);
    OK(push_position(client, &position));
    CHECK(position == counters.position);
    /* A caller that was built before the last fields were added. */
    counters.size = offsetof(push_counters, position);
    counters.position = 1;
    OK(push_client_status(client, &counters));
    CHECK(counters.position == 1 && counters.size == offsetof(push_counters, position));
}

static void embedded(push_hub *hub, const push_client *client) {
    push_counters counters;
    push_counters_init(&counters);
    OK(push_hub_counters(hub, &counters));
    CHECK(counters.channels > 0);
    CHECK(strncmp(push_hub_address(hub, 0), "127.0.0.1:", 10) == 0 && strcmp(push_hub_address(hub, 0), "127.0.0.1:0") != 0);
    CHECK(push_hub_address(hub, 1) == NULL);
    CHECK(strncmp(push_hub_admin_address(hub, 0), "127.0.0.1:", 10) == 0 && push_hub_admin_address(hub, 1) == NULL);
    OK(push_hub_drain(hub));
    OK(push_hub_drain(hub));
    CHECK(push_hub_counters(hub, &counters) == PUSH_HUB_UNAVAILABLE && said("ended"));
    CHECK(push_publish(client, push_str("api"), push_str_data("late"), NULL, NULL) == PUSH_HUB_UNAVAILABLE);
    push_hub_stop(hub);
    CHECK(push_client_ping(client, 10) == PUSH_HUB_UNAVAILABLE && said("ended"));
}

int main(int argc, char **argv) {
    push_hub *hub;
    push_client *client;
    CHECK(argc == 2);
    CHECK(strcmp(push_last_error(), "") == 0);
    versions();
    positions();
    client = reach(argv[1], &hub);
    publishing(client);
    batches(client);
    binary(client);
    channels(client);
    access(client);
    presence(client);
    state(client, hub, argv[1]);
    if (hub != NULL) {
        embedded(hub, client);
    }
    push_client_free(client);
    return failures == 0 ? 0 : 1;
}
