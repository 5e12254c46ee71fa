/* SPDX-License-Identifier: MIT */
#include "session.h"

#include "interrupt.h"
#include "level.h"

enum { WORDS = 8 };

/* As what is written beside a recording, whose times begin with it. */
static heard_word plain_word(const struct session *session, const er_word *word)
{
    heard_word result;

    result.label = er_model_label(session->model, word->label);
    result.start_s = word->start_s;
    result.end_s = word->end_s;
    result.confidence = word->confidence;
    result.string = word->string;
    return result;
}

static int tell(struct session *session, const er_word *words, size_t count, struct problem *problem)
{
    size_t i;
    int status = 0;

    for (i = 0; i < count && status == 0; i++) {
        const heard_word plain = plain_word(session, words + i);
        heard_word word = plain;

        word.start_s += session->began_s;
        word.end_s += session->began_s;
        word.string += session->began_string;
        session->words++;
        status = display_word(session->display, &word, problem);
        if (session->recording != NULL) {
            recording_word(session->recording, &plain);
        }
        if (session->hook != NULL) {
            hook_word(session->hook, &word);
        }
    }
    return status;
}

static int make_recognizer(struct session *session, uint32_t sample_rate, struct problem *problem)
{
    er_status status = er_recognizer_create(session->model, sample_rate, &session->recognizer);

    if (status == ER_OK && session->threshold >= 0.0f) {
        status = er_recognizer_set_threshold(session->recognizer, session->threshold);
    }
    if (status != ER_OK) {
        return problem_set(problem, "recognizer for %u Hz: %s", (unsigned)sample_rate, er_status_text(status));
    }
    session->sample_rate = sample_rate;
    return 0;
}

int session_open(struct session *session, uint32_t sample_rate, struct problem *problem)
{
    return make_recognizer(session, sample_rate, problem);
}

int session_hear(struct session *session, const float *samples, size_t count, unsigned long long dropped,
                 struct problem *problem)
{
    const double rms_db = session->display->meter ? level_rms_db(samples, count) : 0.0;
    size_t used = 0;
    int status = 0;

    if (session->recording != NULL) {
        if (recording_is_due(session->recording, session_heard_s(session))) {
            status = session_restart(session, session->sample_rate, problem);
        }
        recording_audio(session->recording, samples, count);
    }
    while (used < count && status == 0) {
        er_word words[WORDS];
        size_t word_count = 0, consumed = 0;
        const double began_s = clock_s();

        er_recognizer_push(session->recognizer, samples + used, count - used, words, WORDS, &word_count, &consumed);
        session->busy_s += clock_s() - began_s;
        session->samples += consumed;
        used += consumed;
        status = tell(session, words, word_count, problem);
    }
    if (dropped > 0 && !session->warned) {
        session->warned = 1;
        display_note(session->display, "this computer is too slow or too busy: audio was dropped");
    }
    if (session->recording != NULL) {
        uint32_t found = 0;
        er_word partial;

        er_recognizer_partial(session->recognizer, &partial, &found);
        if (found) {
            recording_in_word(session->recording, session_heard_s(session));
        }
    }
    if (session->hook != NULL) {
        hook_poll(session->hook);
    }
    display_level(session->display, rms_db, dropped);
    return status;
}

int session_finish(struct session *session, struct problem *problem)
{
    er_word words[WORDS];
    size_t count;
    int status = 0;

    do {
        if (er_recognizer_finish(session->recognizer, words, WORDS, &count) != ER_OK) {
            break;
        }
        status = tell(session, words, count, problem);
    } while (status == 0 && count == WORDS);
    return status;
}

int session_restart(struct session *session, uint32_t sample_rate, struct problem *problem)
{
    int status = session_finish(session, problem);

    session->began_s = session_heard_s(session);
    session->began_string += er_recognizer_ended_strings(session->recognizer);
    session->samples = 0;
    if (sample_rate == session->sample_rate) {
        er_recognizer_reset(session->recognizer);
    } else {
        er_recognizer_destroy(session->recognizer);
        session->recognizer = NULL;
        if (make_recognizer(session, sample_rate, problem) != 0) {
            return FAILED;
        }
    }
    if (session->recording != NULL) {
        recording_restart(session->recording, sample_rate);
    }
    return status;
}

double session_heard_s(const struct session *session)
{
    return session->began_s + (double)session->samples / (double)session->sample_rate;
}

void session_close(struct session *session)
{
    er_recognizer_destroy(session->recognizer);
    session->recognizer = NULL;
}
