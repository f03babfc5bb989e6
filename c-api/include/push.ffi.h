#define FFI_SCOPE "push"
#define FFI_LIB "libpush.so.0"
/* libpush for PHP's FFI::load(). push.h says what everything does. Generated, do not edit. */

enum { PUSH_VERSION_MAJOR = 0 };

enum { PUSH_VERSION_MINOR = 1 };

enum { PUSH_VERSION_PATCH = 0 };

enum { PUSH_TOKEN_SIZE = 6145 };

enum { PUSH_NAME_SIZE = 1025 };

enum { PUSH_GENERATED_NAME_SIZE = 32 };

enum { PUSH_MAX_PAGE = 10000 };

enum { PUSH_WITHOUT_PRESENCE = 1 };

enum { PUSH_LOG_ERROR = 1 };

enum { PUSH_LOG_WARN = 2 };

enum { PUSH_LOG_INFO = 3 };

enum { PUSH_LOG_DEBUG = 4 };

enum { PUSH_MESSAGE = 0 };

enum { PUSH_GAP = 1 };

enum { PUSH_CHANNEL_DELETED = 2 };

enum { PUSH_POSITION_START = 0 };


enum { PUSH_POSITION_SIZE = 24 };

enum { PUSH_JSON = 1 };

enum { PUSH_UNSTORED = 2 };

typedef struct push_channel push_channel;

typedef struct push_channel_list push_channel_list;

typedef struct push_client push_client;

typedef struct push_config push_config;

typedef struct push_hub push_hub;

typedef struct push_member push_member;

typedef struct push_member_list push_member_list;

typedef struct push_message push_message;

typedef struct push_message_list push_message_list;

typedef struct push_name_list push_name_list;

typedef struct push_subscription push_subscription;

typedef int push_status;

typedef struct {
  const char *data;
  size_t len;
} push_text;

typedef struct {
  size_t size;
  push_text owner;
  uint32_t ttl;
  uint32_t max_messages;
  uint32_t message_ttl;
  uint32_t flags;
} push_channel_options;

typedef struct {
  const void *data;
  size_t len;
} push_bytes;

typedef struct {
  size_t size;
  uint64_t uptime;
  uint64_t channels;
  uint64_t subscribers;
  uint64_t messages;
  uint64_t memory;
  uint64_t position;
  uint32_t pid;
  char version[28];
  char socket[112];
} push_counters;

typedef void (*push_log_callback)(int level, push_text line, void *user);

typedef struct {
  size_t size;
  push_text event;
  push_text event_id;
  push_text dedupe;
  uint32_t ttl;
  uint32_t flags;
} push_publish_options;

typedef struct {
  uint64_t id;
  uint64_t position;
  uint64_t subscribers;
} push_published;

typedef struct {
  push_text channel;
  push_bytes payload;
  const push_publish_options *options;
} push_publication;

enum { PUSH_OK = 0 };

enum { PUSH_INVALID_NAME = 1 };

enum { PUSH_INVALID_ARGUMENT = 2 };

enum { PUSH_TOO_LARGE = 3 };

enum { PUSH_LIMIT_EXCEEDED = 4 };

enum { PUSH_CHANNEL_NOT_FOUND = 5 };

enum { PUSH_ACCESS_DENIED = 6 };

enum { PUSH_HUB_UNAVAILABLE = 7 };

enum { PUSH_TIMEOUT = 8 };

enum { PUSH_INCOMPATIBLE = 9 };

enum { PUSH_NULL_ARGUMENT = -1 };

enum { PUSH_PANIC = -2 };

enum { PUSH_FORKED = -3 };

enum { PUSH_INVALID_CONFIG = -4 };

enum { PUSH_START_FAILED = -5 };

const char *push_version(void);

uint32_t push_version_number(void);

push_status push_token(const push_client *client,
                       const push_text *channels,
                       size_t count,
                       push_text user,
                       uint32_t ttl,
                       push_text info,
                       bool publish,
                       char *token_out,
                       size_t size);

push_status push_disconnect(const push_client *client,
                            push_text user,
                            push_text channel,
                            push_text reason,
                            bool revoke,
                            uint64_t *count_out);

push_status push_create_channel(const push_client *client,
                                push_text name,
                                const push_channel_options *options,
                                char *name_out,
                                size_t size);

push_status push_delete_channel(const push_client *client, push_text channel, push_bytes message, bool *existed_out);

push_status push_clear_channel(const push_client *client, push_text channel, uint64_t *count_out);

push_status push_channel_info(const push_client *client, push_text channel, push_channel **info_out);

push_status push_channels(const push_client *client,
                          push_text prefix,
                          push_text after,
                          uint32_t limit,
                          push_channel_list **list_out);

size_t push_channel_list_count(const push_channel_list *list);

const push_channel *push_channel_list_borrow(const push_channel_list *list, size_t index);

void push_channel_list_free(push_channel_list *list);

push_text push_channel_name(const push_channel *channel);

push_text push_channel_owner(const push_channel *channel);

uint64_t push_channel_published(const push_channel *channel);

uint32_t push_channel_stored(const push_channel *channel);

uint32_t push_channel_subscribers(const push_channel *channel);

uint32_t push_channel_ttl(const push_channel *channel);

uint64_t push_channel_position(const push_channel *channel);

void push_channel_free(push_channel *channel);

push_status push_client_open(const push_config *config, push_client **client_out);

push_status push_client_embedded(const push_hub *hub, push_client **client_out);

push_status push_client_ping(const push_client *client, uint32_t milliseconds);

push_status push_client_status(const push_client *client, push_counters *counters_out);

push_status push_position(const push_client *client, uint64_t *position_out);

void push_client_free(push_client *client);

push_config *push_config_new(void);

push_status push_config_set(push_config *config, const char *key, const char *value);

push_status push_config_load(push_config *config, const char *file);

void push_config_free(push_config *config);

push_status push_hub_start(const push_config *config, push_hub **hub_out);

const char *push_hub_address(const push_hub *hub, size_t index);

const char *push_hub_admin_address(const push_hub *hub, size_t index);

push_status push_hub_counters(const push_hub *hub, push_counters *counters_out);

push_status push_hub_drain(const push_hub *hub);

void push_hub_stop(push_hub *hub);

push_status push_log_to(push_log_callback callback, void *user);

push_status push_history(const push_client *client,
                         push_text channel,
                         uint64_t after,
                         uint32_t limit,
                         push_message_list **list_out);

size_t push_message_list_count(const push_message_list *list);

const push_message *push_message_list_borrow(const push_message_list *list, size_t index);

void push_message_list_free(push_message_list *list);

int push_message_type(const push_message *message);

push_text push_message_channel(const push_message *message);

push_bytes push_message_payload(const push_message *message);

bool push_message_is_json(const push_message *message);

push_text push_message_event(const push_message *message);

push_text push_message_event_id(const push_message *message);

uint64_t push_message_id(const push_message *message);

void push_message_free(push_message *message);

uint64_t push_message_position(const push_message *message);

push_status push_position_text(uint64_t position, char *text_out, size_t size);

push_status push_position_parse(push_text text, uint64_t *position_out);

push_status push_presence_online(const push_client *client,
                                 push_text user,
                                 push_text channel,
                                 push_text info,
                                 uint32_t ttl,
                                 bool *changed_out);

push_status push_presence_offline(const push_client *client, push_text user, push_text channel, bool *changed_out);

push_status push_presence_is_online(const push_client *client, push_text user, push_text channel, bool *online_out);

push_status push_presence_among(const push_client *client,
                                const push_text *users,
                                size_t count,
                                push_text channel,
                                push_name_list **list_out);

push_status push_presence_get(const push_client *client, push_text user, push_text channel, push_member **member_out);

push_status push_presence_members(const push_client *client,
                                  push_text channel,
                                  push_text after,
                                  uint32_t limit,
                                  push_member_list **list_out);

push_status push_presence_count(const push_client *client, push_text channel, uint64_t *count_out);

push_status push_presence_channels(const push_client *client, push_text user, push_name_list **list_out);

push_text push_member_user(const push_member *member);

push_text push_member_info(const push_member *member);

uint32_t push_member_connections(const push_member *member);

uint64_t push_member_since(const push_member *member);

void push_member_free(push_member *member);

size_t push_member_list_count(const push_member_list *list);

const push_member *push_member_list_borrow(const push_member_list *list, size_t index);

void push_member_list_free(push_member_list *list);

size_t push_name_list_count(const push_name_list *list);

push_text push_name_list_borrow(const push_name_list *list, size_t index);

void push_name_list_free(push_name_list *list);

push_status push_publish(const push_client *client,
                         push_text channel,
                         push_bytes payload,
                         const push_publish_options *options,
                         push_published *published_out);

push_status push_publish_async(const push_client *client,
                               push_text channel,
                               push_bytes payload,
                               const push_publish_options *options);

push_status push_publish_many(const push_client *client,
                              const push_publication *messages,
                              size_t count,
                              push_published *published_out);

const char *push_status_text(push_status status);

const char *push_last_error(void);

push_status push_subscribe(const push_client *client,
                           const push_text *channels,
                           size_t count,
                           uint64_t position,
                           push_subscription **subscription_out);

int push_subscription_fd(const push_subscription *subscription);

push_status push_subscription_next(push_subscription *subscription, push_message **message_out);

uint64_t push_subscription_position(const push_subscription *subscription);

void push_subscription_free(push_subscription *subscription);
