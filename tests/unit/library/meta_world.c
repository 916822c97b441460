/*
 * meta_world: rows as an upload makes them, and the callbacks that a test waits for.
 */
#include "tests/unit/library/meta_world.h"

#include "common/db/schema.h"
#include "sql/storage_sql.h"

void meta_world_start(struct meta_world *world, const char *more)
{
    meta_world_start_with(world, NULL, more);
}

void meta_world_start_with(struct meta_world *world, const char *one, const char *more)
{
    struct error error = {0};
    char path[128];
    memset(world, 0, sizeof(*world));
    fixture_create(&world->fixture);
    fixture_option(&world->fixture, "storage.paths=../data=%s/one", world->fixture.directory);
    fixture_option(&world->fixture, "database.timeout=30s");
    if (one)
        fixture_option(&world->fixture, "%s", one);
    if (more)
        fixture_option(&world->fixture, "%s", more);
    fixture_load(&world->fixture);
    if (!schema_apply(world->fixture.config.base.database_url, &storage_schema, NULL, &error))
        fail_msg("%s", error.text);
    world->main_loop = loop_create("main", &error);
    assert_non_null(world->main_loop);
    world->loop = loop_fresh();
    world->store = store_create(&world->fixture.config, world->main_loop, 10000, NULL, NULL, &error);
    assert_non_null(world->store);
    world->meta = meta_create(&world->fixture.config, world->store, world->main_loop, &error);
    if (!world->meta)
        fail_msg("%s", error.text);
    snprintf(path, sizeof(path), "%s/meta.db", world->fixture.directory);
    assert_int_equal(sqlite3_open(path, &world->beside), SQLITE_OK);
    sqlite3_busy_timeout(world->beside, 10000);
}

void meta_world_end(struct meta_world *world)
{
    sqlite3_close(world->beside);
    meta_end(world->meta);
    store_end(world->store, 60000);
    loop_destroy(world->loop);
    meta_destroy(world->meta);
    store_destroy(world->store);
    loop_destroy(world->main_loop);
    fixture_destroy(&world->fixture);
}

void meta_world_beside(struct meta_world *world, const char *sql)
{
    char *message = NULL;
    if (sqlite3_exec(world->beside, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
}

struct proto_file_key meta_world_key(const char *user, const char *file)
{
    struct proto_file_key key = {.application = "tnvideo"};
    snprintf(key.user, sizeof(key.user), "%s", user);
    snprintf(key.file, sizeof(key.file), "%s", file);
    return key;
}

bool asked_is_answered(void *argument)
{
    return atomic_load(&((struct asked *)argument)->answered);
}

void asked_wait(struct asked *asked)
{
    assert_true(asked->taken);
    assert_true(loop_wait_until(asked_is_answered, asked));
}

void asked_on_find(struct meta_find *find)
{
    atomic_store(&CONTAINER_OF(find, struct asked, find)->answered, true);
}

void asked_run_find(void *argument)
{
    struct asked *asked = argument;
    asked->taken = meta_find(asked->world->meta, &asked->find, &asked->error);
}

void asked_find(struct meta_world *world, struct asked *asked, const struct proto_file_key *key,
                bool stale_fine)
{
    memset(asked, 0, sizeof(*asked));
    asked->world = world;
    asked->find =
        (struct meta_find){.key = *key, .loop = world->loop, .done = asked_on_find, .stale_fine = stale_fine};
    loop_do(world->loop, asked_run_find, asked);
}

enum meta_result rows_find(struct meta_world *world, const struct proto_file_key *key, struct meta_row *row)
{
    static struct asked asked;
    asked_find(world, &asked, key, false);
    asked_wait(&asked);
    if (row)
        *row = asked.find.row;
    return asked.find.result;
}

enum meta_result rows_find_however_old(struct meta_world *world, const struct proto_file_key *key,
                                       struct meta_row *row)
{
    static struct asked asked;
    asked_find(world, &asked, key, true);
    asked_wait(&asked);
    if (row)
        *row = asked.find.row;
    return asked.find.result;
}

static void asked_on_insert(struct meta_insert *insert)
{
    atomic_store(&CONTAINER_OF(insert, struct asked, insert)->answered, true);
}

void asked_run_insert(void *argument)
{
    struct asked *asked = argument;
    asked->taken = meta_insert(asked->world->meta, &asked->insert, &asked->error);
}

void rows_fill_insert(struct meta_world *world, struct meta_insert *insert, const struct proto_file_key *key,
                      int64_t value, int64_t size, const char *name)
{
    struct meta_row *row = &insert->row;
    *insert = (struct meta_insert){.key = *key, .loop = world->loop, .done = asked_on_insert};
    row->path = store_at(world->store, 0);
    row->place = (struct path){.value = value, .seconds = 0x5F9E3FA7};
    row->has_texts = true;
    row->stat.size = size;
    row->stat.created = row->place.seconds;
    row->stat.has_digest = true;
    memset(row->stat.digest, 0xAB, sizeof(row->stat.digest));
    snprintf(row->stat.name, sizeof(row->stat.name), "%s", name);
    snprintf(row->stat.content_type, sizeof(row->stat.content_type), "video/mp4");
    snprintf(row->stat.group, sizeof(row->stat.group), "group001");
    assert_true(store_path_format(row->path, &row->place, row->file_path));
}

struct meta_insert *rows_insert(struct meta_world *world, const struct proto_file_key *key, int64_t value,
                                int64_t size, const char *name)
{
    static struct asked asked;
    memset(&asked, 0, sizeof(asked));
    asked.world = world;
    rows_fill_insert(world, &asked.insert, key, value, size, name);
    loop_do(world->loop, asked_run_insert, &asked);
    asked_wait(&asked);
    return &asked.insert;
}

void asked_on_withdraw(struct meta_withdraw *withdraw)
{
    atomic_store(&CONTAINER_OF(withdraw, struct asked, withdraw)->answered, true);
}

void asked_run_withdraw(void *argument)
{
    struct asked *asked = argument;
    asked->taken = meta_withdraw(asked->world->meta, &asked->withdraw, &asked->error);
}

void asked_on_change(struct meta_change *change)
{
    atomic_store(&CONTAINER_OF(change, struct asked, change)->answered, true);
}

void asked_run_change(void *argument)
{
    struct asked *asked = argument;
    asked->taken = meta_change(asked->world->meta, &asked->change, &asked->error);
}

struct meta_change *rows_change(struct meta_world *world, const struct proto_file_key *key,
                                enum proto_file_status status)
{
    static struct asked asked;
    memset(&asked, 0, sizeof(asked));
    asked.world = world;
    asked.change =
        (struct meta_change){.key = *key, .status = status, .loop = world->loop, .done = asked_on_change};
    loop_do(world->loop, asked_run_change, &asked);
    asked_wait(&asked);
    return &asked.change;
}

static void asked_on_edit(struct meta_edit *edit)
{
    atomic_store(&CONTAINER_OF(edit, struct asked, edit)->answered, true);
}

static void asked_run_edit(void *argument)
{
    struct asked *asked = argument;
    asked->taken = meta_edit(asked->world->meta, &asked->edit, &asked->error);
}

struct meta_edit *rows_rename(struct meta_world *world, const struct proto_file_key *key, const char *name)
{
    static struct asked asked;
    memset(&asked, 0, sizeof(asked));
    asked.world = world;
    asked.edit =
        (struct meta_edit){.key = *key, .kind = META_EDIT_NAME, .loop = world->loop, .done = asked_on_edit};
    snprintf(asked.edit.name, sizeof(asked.edit.name), "%s", name);
    loop_do(world->loop, asked_run_edit, &asked);
    asked_wait(&asked);
    return &asked.edit;
}

struct meta_edit *rows_expire(struct meta_world *world, const struct proto_file_key *key, int64_t expires)
{
    static struct asked asked;
    memset(&asked, 0, sizeof(asked));
    asked.world = world;
    asked.edit = (struct meta_edit){.key = *key,
                                    .kind = META_EDIT_EXPIRES,
                                    .expires = expires,
                                    .loop = world->loop,
                                    .done = asked_on_edit};
    loop_do(world->loop, asked_run_edit, &asked);
    asked_wait(&asked);
    return &asked.edit;
}

static void asked_on_list(struct meta_list *list)
{
    atomic_store(&CONTAINER_OF(list, struct asked, list)->answered, true);
}

static void asked_run_list(void *argument)
{
    struct asked *asked = argument;
    asked->taken = meta_list(asked->world->meta, &asked->list, &asked->error);
}

struct meta_list *rows_list(struct meta_world *world, const char *user, const char *after, int limit,
                            enum proto_file_status status)
{
    static struct asked asked;
    memset(&asked, 0, sizeof(asked));
    asked.world = world;
    asked.list = (struct meta_list){
        .list = {.key = meta_world_key(user, after), .limit = limit, .status = (uint8_t)status},
        .loop = world->loop,
        .done = asked_on_list};
    loop_do(world->loop, asked_run_list, &asked);
    asked_wait(&asked);
    return &asked.list;
}
