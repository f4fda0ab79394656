// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/peer.h"

#include "base/check.h"

#include <string.h>

void peer_open(Peer *peer) {
    *peer = (Peer){.next_call = 1};
    FrameLimits limits = frame_limits_default();
    frame_open(&peer->frame, &limits);
}

void peer_close(Peer *peer) {
    buffer_free(&peer->out);
    buffer_free(&peer->in);
}

// ---- Writing ------------------------------------------------------------------------------------

static void put_text_pair(Buffer *out, const char *key, const char *text) {
    msg_pair_word(out, key, text);
}

static void put_uint_pair(Buffer *out, const char *key, uint64_t value) {
    msg_pair_uint(out, key, value);
}

void peer_hello(Peer *peer, const char *token) {
    peer->hello_call = peer->next_call;
    msg_put_request(&peer->out, peer->next_call++, "hello");
    msg_put_map(&peer->out, token != NULL ? 3 : 2);
    put_uint_pair(&peer->out, "version", 1);
    put_text_pair(&peer->out, "client", "simulator");
    if (token != NULL) {
        put_text_pair(&peer->out, "token", token);
    }
}

static void put_messages(Buffer *out, const PeerAsk *ask) {
    msg_put_key(out, "messages");
    msg_put_array(out, 1);
    msg_put_map(out, 2);
    put_text_pair(out, "role", "user");
    msg_put_key(out, "content");
    if (ask->image.length == 0) {
        msg_put_key(out, ask->text);
        return;
    }
    msg_put_array(out, 2);
    msg_put_map(out, 2);
    put_text_pair(out, "type", "image");
    msg_pair_binary(out, "data", ask->image);
    msg_put_map(out, 2);
    put_text_pair(out, "type", "text");
    put_text_pair(out, "text", ask->text);
}

bool peer_generate(Peer *peer, const PeerAsk *ask) {
    PeerStream *stream = NULL;
    for (uint32_t i = 0; i < PEER_STREAMS && stream == NULL; i++) {
        stream = peer->streams[i].state == PEER_UNUSED ? &peer->streams[i] : NULL;
    }
    if (stream == NULL) {
        return false;
    }
    REQUIRE(ask->samples <= PEER_SAMPLES && ask->max_tokens <= PEER_TOKENS);
    *stream = (PeerStream){.state = PEER_ASKED,
                           .call = peer->next_call,
                           .marker = ask->marker,
                           .streams = ask->streams,
                           .has_deadline = ask->deadline_ms > 0,
                           .sample_count = ask->samples};
    Buffer *out = &peer->out;
    msg_put_request(out, peer->next_call++, "generate");
    msg_put_map(out, ask->deadline_ms > 0 ? 8 : 7);
    put_messages(out, ask);
    put_uint_pair(out, "max_tokens", ask->max_tokens);
    put_uint_pair(out, "n", ask->samples);
    put_uint_pair(out, "seed", ask->seed);
    put_uint_pair(out, "budget", 70);
    put_text_pair(out, "class", ask->batch ? "batch" : "interactive");
    msg_pair_bool(out, "stream", ask->streams);
    if (ask->deadline_ms > 0) {
        put_uint_pair(out, "deadline_ms", ask->deadline_ms);
    }
    return true;
}

void peer_cancel(Peer *peer, uint64_t stream) {
    msg_put_notification(&peer->out, "cancel");
    msg_put_map(&peer->out, 1);
    put_uint_pair(&peer->out, "id", stream);
    for (uint32_t i = 0; i < PEER_STREAMS; i++) {
        PeerStream *s = &peer->streams[i];
        s->cancelled = s->cancelled || (s->state == PEER_OPEN && s->id == stream);
    }
}

void peer_credit(Peer *peer, uint64_t stream, uint32_t count) {
    msg_put_notification(&peer->out, "credit");
    msg_put_map(&peer->out, 2);
    put_uint_pair(&peer->out, "id", stream);
    put_uint_pair(&peer->out, "n", count);
}

void peer_plain(Peer *peer, const char *method) {
    msg_put_request(&peer->out, peer->next_call++, method);
    msg_put_map(&peer->out, 0);
    peer->plain_open++;
}

// ---- Reading ------------------------------------------------------------------------------------

static PeerStream *stream_of_call(Peer *peer, uint32_t call) {
    for (uint32_t i = 0; i < PEER_STREAMS; i++) {
        if (peer->streams[i].state != PEER_UNUSED && peer->streams[i].call == call) {
            return &peer->streams[i];
        }
    }
    return NULL;
}

static PeerStream *stream_of_id(Peer *peer, uint64_t id) {
    for (uint32_t i = 0; i < PEER_STREAMS; i++) {
        if (peer->streams[i].state == PEER_OPEN && peer->streams[i].id == id) {
            return &peer->streams[i];
        }
    }
    REQUIRE_MESSAGE(false, "an event of stream %llu, which is not open", (unsigned long long)id);
    return NULL;
}

// "0x" and more digits than a byte has.
static bool shows_address(Bytes text) {
    for (size_t i = 0; i + 6 < text.length; i++) {
        size_t digits = strspn((const char *)text.data + i + 2, "0123456789abcdefABCDEF");
        if (memcmp(text.data + i, "0x", 2) == 0 && digits > 4) {
            return true;
        }
    }
    return false;
}

// Code of an error map; every error has a name and a sentence, and neither shows an address.
static int64_t read_error(MsgReader *reader, const msgpack_object *object, bool *retry) {
    MsgMap map = msg_map(reader, object, "error");
    int64_t code = msg_int(&map, "code", -9999, -1, 0);
    Bytes name = msg_need_text(&map, "name", 64);
    Bytes text = msg_need_text(&map, "message", 2000);
    *retry = msg_int(&map, "retry_after_ms", 0, UINT32_MAX, 0) > 0;
    REQUIRE(code != 0 && name.length > 2 && memcmp(name.data, "E_", 2) == 0 && text.length > 0);
    REQUIRE_MESSAGE(!shows_address(text), "%.*s", (int)text.length, text.data);
    return code;
}

static void read_response(Peer *peer, MsgReader *reader, const Msg *msg) {
    bool failed = msg->error->type != MSGPACK_OBJECT_NIL, retry = false;
    int64_t error = failed ? read_error(reader, msg->error, &retry) : 0;
    if (msg->id == peer->hello_call) {
        REQUIRE(!peer->greeted && peer->hello_error == 0);
        peer->greeted = !failed;
        peer->hello_error = error;
        return;
    }
    PeerStream *stream = stream_of_call(peer, msg->id);
    if (stream == NULL) {
        REQUIRE_MESSAGE(peer->plain_open > 0, "an answer to call %u, never asked", msg->id);
        peer->plain_open--;
        return;
    }
    REQUIRE(stream->state == PEER_ASKED);
    stream->error = error;
    stream->has_error_retry = retry;
    stream->state = failed ? PEER_REFUSED : PEER_OPEN;
    if (!failed) {
        MsgMap map = msg_map(reader, msg->result, "result");
        stream->id = (uint64_t)msg_int(&map, "stream", 0, INT64_MAX, 0);
    }
}

static void read_ids(PeerSample *sample, const MsgArray *ids) {
    for (uint32_t i = 0; i < ids->count; i++) {
        REQUIRE(sample->id_count < PEER_TOKENS);
        sample->ids[sample->id_count++] = (int32_t)msg_item_int(ids, i, 0, INT32_MAX);
    }
}

static void read_token(Peer *peer, MsgMap *map) {
    PeerStream *stream = stream_of_id(peer, (uint64_t)msg_int(map, "id", 0, INT64_MAX, 0));
    uint32_t index = (uint32_t)msg_int(map, "index", 0, PEER_SAMPLES - 1, 0);
    REQUIRE(stream->streams && index < stream->sample_count);
    PeerSample *sample = &stream->samples[index];
    REQUIRE((uint64_t)msg_int(map, "seq", 0, INT64_MAX, -1) == sample->next_seq);
    sample->next_seq++;
    MsgArray ids = msg_array(map, "ids", "ids", PEER_TOKENS);
    read_ids(sample, &ids);
    peer->credit_owed++;
}

static void read_done(Peer *peer, MsgReader *reader, MsgMap *map, const msgpack_object *error) {
    static const char *const reasons[] = {"stop", "length", "cancel", "deadline", "error"};
    PeerStream *stream = stream_of_id(peer, (uint64_t)msg_int(map, "id", 0, INT64_MAX, 0));
    MsgArray samples = msg_array(map, "samples", "samples", PEER_SAMPLES);
    REQUIRE(samples.count == stream->sample_count);
    for (uint32_t i = 0; i < samples.count; i++) {
        PeerSample *sample = &stream->samples[i];
        MsgMap one = msg_item_map(&samples, i);
        sample->reason =
            (PeerReason)msg_choice(&one, "reason", reasons, PEER_REASONS, PEER_REASONS);
        REQUIRE(sample->reason < PEER_REASONS);
        if (!stream->streams) {
            MsgArray ids = msg_array(&one, "ids", "ids", PEER_TOKENS);
            read_ids(sample, &ids);
        }
        int64_t tokens = msg_int(&one, "tokens", 0, INT64_MAX, -1);
        bool dropped = stream->streams && stream->cancelled; // a cancel drops what was held
        REQUIRE_MESSAGE(tokens == sample->id_count || (dropped && tokens > sample->id_count),
                        "call #%u ended by %s: %lld tokens, %u came", stream->marker,
                        reasons[sample->reason], (long long)tokens, sample->id_count);
    }
    if (error != NULL) {
        stream->error = read_error(reader, error, &stream->has_error_retry);
    }
    stream->state = PEER_DONE;
}

static const msgpack_object *pair_of(const msgpack_object *map, const char *key) {
    REQUIRE(map->type == MSGPACK_OBJECT_MAP);
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object *k = &map->via.map.ptr[i].key;
        if (k->type == MSGPACK_OBJECT_STR && k->via.str.size == strlen(key) &&
            memcmp(k->via.str.ptr, key, k->via.str.size) == 0) {
            return &map->via.map.ptr[i].val;
        }
    }
    return NULL;
}

static void read_message(Peer *peer, Bytes bytes) {
    Error error = {0};
    Msg msg;
    REQUIRE_MESSAGE(msg_open(bytes, &msg, &error) == OK, "%s", error.text);
    MsgReader reader = {.error = &error};
    if (msg.kind == MSG_RESPONSE) {
        read_response(peer, &reader, &msg);
    } else {
        REQUIRE(msg.kind == MSG_NOTIFICATION);
        REQUIRE_MESSAGE(peer->goodbye == 0, "a message after goodbye");
        MsgMap map = msg_map(&reader, msg.params, "params");
        if (bytes_equal(msg.method, bytes_of_text("token"))) {
            read_token(peer, &map);
        } else if (bytes_equal(msg.method, bytes_of_text("done"))) {
            read_done(peer, &reader, &map, pair_of(msg.params, "error"));
        } else {
            REQUIRE(bytes_equal(msg.method, bytes_of_text("goodbye")));
            bool retry;
            peer->goodbye = read_error(&reader, msg.params, &retry);
        }
    }
    REQUIRE_MESSAGE(reader.status == OK, "%s", error.text);
    msg_close(&msg);
}

void peer_receive(Peer *peer, Bytes bytes) {
    buffer_append(&peer->in, bytes.data, bytes.length);
    for (;;) {
        size_t length = 0;
        Error error = {0};
        Bytes all = {peer->in.data, peer->in.length};
        REQUIRE_MESSAGE(frame_next(&peer->frame, all, &length, &error) == OK, "%s", error.text);
        if (length == 0) {
            return;
        }
        read_message(peer, (Bytes){peer->in.data, length});
        memmove(peer->in.data, peer->in.data + length, peer->in.length - length);
        peer->in.length -= length;
    }
}

uint32_t peer_pending(const Peer *peer) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < PEER_STREAMS; i++) {
        count += peer->streams[i].state == PEER_ASKED || peer->streams[i].state == PEER_OPEN;
    }
    return count;
}
