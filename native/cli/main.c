/* SPDX-License-Identifier: MIT
 *
 * edge-digits: spoken digits from a microphone or a recording, in C alone. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices.h"
#include "display.h"
#include "doctor.h"
#include "hook.h"
#include "interrupt.h"
#include "microphone.h"
#include "model.h"      /* the threshold in a model has no public reader */
#include "model_file.h"
#include "options.h"
#include "output.h"
#include "recording.h"
#include "self_test.h"
#include "session.h"
#include "wav.h"

enum { EXIT_BAD_INPUT = 2 };
enum { DEFAULT_RAW_RATE = 16000 };
static const double BLOCK_S = 0.1, LIVE_BLOCK_S = 0.02;

/* A descriptor that is closed would be taken by the next file opened, and words be written into it. One that cannot be
 * written stands in for it. */
static void keep_standard_descriptors(void)
{
    int descriptor = open("/dev/null", O_RDONLY);

    while (descriptor >= 0 && descriptor <= STDERR_FILENO) {
        descriptor = open("/dev/null", O_RDONLY);
    }
    if (descriptor >= 0) {
        close(descriptor);
    }
}

static uint32_t raw_rate(const struct options *options)
{
    if (!options->raw) {
        return 0;
    }
    return options->sample_rate != 0 ? options->sample_rate : DEFAULT_RAW_RATE;
}

static int check_rate(uint32_t rate, struct problem *problem)
{
    if (rate != 0 && er_resampler_size(rate) == 0) {
        return problem_set(problem,
                           "-r: %u Hz is not supported (8000 to 192000 Hz, usual rates); "
                           "convert it: ffmpeg -i INPUT -ar 16000 OUTPUT.wav",
                           (unsigned)rate);
    }
    return 0;
}

/* What a session has done; losses: of a microphone. */
static void show_totals(const struct session *session, const char *losses)
{
    const double heard_s = session_heard_s(session);
    char factor[48] = "";

    if (heard_s > 0.0) {
        snprintf(factor, sizeof factor, ", real-time factor %.4f", session->busy_s / heard_s);
    }
    display_note(session->display, "heard %.1f s, %lu words%s%s", heard_s, session->words, factor, losses);
}

/* Everything that is told of a session, ready to begin; source: its description and the name of a device or file. */
static int begin(struct session *session, const struct options *options, const model_file *file,
                 const char *description, const char *source, uint32_t sample_rate, struct problem *problem)
{
    const char *name = strrchr(file->name, '/');
    er_model_info info;

    session->threshold = (float)options->threshold;
    if (session_open(session, sample_rate, problem) != 0) {
        return FAILED;
    }
    if (options->verbose) {
        er_model_describe(session->model, &info);
        display_note(session->display, "%s, kernel %s, edge-digits %s", name == NULL ? file->name : name + 1,
                     info.kernel, er_version());
    }
    display_note(session->display, "%s", description);
    if (session->recording != NULL) {
        session->recording->device = source;
        model_file_hash(file, session->recording->model_sha256);
        session->recording->threshold = options->threshold >= 0.0 ? options->threshold
                                                                  : (double)session->model->decoder.threshold;
        return recording_open(session->recording, options->save_audio, 1e9 * options->save_limit_gb, sample_rate,
                              session->display, problem);
    }
    return 0;
}

/* The end, in whatever way: words still due, recording, commands, totals. */
static void end(struct session *session, const char *losses)
{
    struct problem ignored;

    session_finish(session, &ignored);
    if (session->hook != NULL) {
        hook_close(session->hook);
    }
    if (session->recording != NULL) {
        recording_close(session->recording);
    }
    display_end(session->display);
    show_totals(session, losses);
    session_close(session);
}

static void poll_hook(void *context)
{
    hook_poll(context);
}

static void sleep_s(double seconds)
{
    if (seconds > 0.0) {
        wait_readable(-1, -1, (int)(1000.0 * seconds + 0.5));
    }
}

/* A line per device: number, name, description; the default is marked. */
static int list_devices(const struct options *options, struct problem *problem)
{
    struct device_list list;
    size_t i;

    if (devices_read(&list, options->arecord, options->verbose, problem) != 0) {
        return FAILED;
    }
    for (i = 0; i < list.count; i++) {
        const struct device *device = list.devices + i;

        printf("%c %2u  %s  (%s)\n", strcmp(device->name, "default") == 0 ? '*' : ' ', (unsigned)i, device->name,
               device->text);
    }
    devices_release(&list);
    return 0;
}

/* A file to its end. */
static int hear_file(struct session *session, wav_reader *reader, int real_time, struct problem *problem)
{
    const double block_s = real_time ? LIVE_BLOCK_S : BLOCK_S;
    const size_t frames = (size_t)fmax(1.0, nearbyint(reader->sample_rate * block_s));
    float *block = malloc(frames * sizeof *block);
    double due_s = clock_s();
    int status = 0;
    long got;

    if (block == NULL) {
        return problem_set(problem, "%s: no memory", reader->name);
    }
    while (status == 0) {
        got = interrupt_came() ? INTERRUPTED : wav_read(reader, block, frames, problem);
        if (got <= 0) {
            status = (int)got;
            break;
        }
        if (real_time) {
            due_s += (double)got / reader->sample_rate;
            sleep_s(due_s - clock_s());
        }
        status = session_hear(session, block, (size_t)got, 0, problem);
    }
    free(block);
    return status;
}

static int run_file(struct session *session, const struct options *options, const model_file *file,
                    struct problem *problem)
{
    char description[4096 + 64];
    wav_reader reader;
    int status = wav_open(&reader, options->input, raw_rate(options), problem);

    if (status != 0) {
        return status;
    }
    snprintf(description, sizeof description, "%s: %u Hz, %u channels", reader.name, (unsigned)reader.sample_rate,
             (unsigned)reader.channels);
    status = begin(session, options, file, description, reader.name, reader.sample_rate, problem);
    if (status == 0) {
        if (session->hook != NULL) {
            reader.idle = poll_hook;
            reader.idle_context = session->hook;
        }
        status = hear_file(session, &reader, options->realtime, problem);
        end(session, "");
    } else {
        session_close(session);
    }
    wav_close(&reader);
    return status;
}

/* The device has stopped: its words, and waiting for it. */
static int come_back(struct session *session, struct microphone *microphone, double reconnect_s,
                     struct problem *problem)
{
    struct problem loss = *problem;
    int status = session_finish(session, problem);

    if (status != 0 || reconnect_s <= 0.0) {
        *problem = status != 0 ? *problem : loss;
        return status != 0 ? status : FAILED;
    }
    display_warning(session->display, "%s; waiting for it", loss.text);
    status = microphone_reconnect(microphone, reconnect_s, problem);
    if (status == 0) {
        status = session_restart(session, microphone->sample_rate, problem);
        display_warning(session->display, "'%s' is back at %u Hz", microphone->name,
                        (unsigned)microphone->sample_rate);
    }
    return status;
}

static int hear_microphone(struct session *session, struct microphone *microphone, double reconnect_s,
                           struct problem *problem)
{
    float block[MICROPHONE_FRAMES];
    int status = 0;

    while (status == 0) {
        const long got = microphone_read(microphone, block, problem);

        if (got > 0) {
            status = session_hear(session, block, (size_t)got, microphone_lost(microphone), problem);
        } else if (got == FAILED) {
            status = come_back(session, microphone, reconnect_s, problem);
        } else if (got < 0) {
            status = (int)got;
        } else if (session->hook != NULL) {
            hook_poll(session->hook);
        }
    }
    return status;
}

static int run_microphone(struct session *session, const struct options *options, const model_file *file,
                          struct problem *problem)
{
    static struct microphone microphone;
    char text[4096 + 64], losses[96] = "";
    int status;

    if (check_rate(options->sample_rate, problem) != 0) {
        return FAILED;
    }
    status = microphone_open(&microphone, options->device, options->sample_rate, options->arecord, options->verbose,
                             problem);
    if (status != 0) {
        return status;
    }
    snprintf(text, sizeof text, "listening to '%s' at %u Hz%s; Ctrl-C ends", microphone.name,
             (unsigned)microphone.sample_rate, microphone.through_arecord ? " through arecord" : "");
    status = begin(session, options, file, text, microphone.name, microphone.sample_rate, problem);
    if (status == 0) {
        status = hear_microphone(session, &microphone, options->reconnect_s, problem);
        if (microphone_overflows(&microphone) > 0) {
            snprintf(losses, sizeof losses, ", %lu overflows in the system", microphone_overflows(&microphone));
        }
        snprintf(losses + strlen(losses), sizeof losses - strlen(losses), ", %llu samples dropped",
                 microphone_lost(&microphone));
        end(session, losses);
    } else {
        session_close(session);
    }
    microphone_close(&microphone);
    return status;
}

static int recognize(const struct options *options, const model_file *file, struct problem *problem)
{
    static struct session session;
    static struct recording recording;
    static struct hook hook;
    static struct display display;
    const int live = options->input == NULL || options->realtime;
    const int from_file = options->input != NULL && strcmp(options->input, "-") != 0 && !options->realtime;
    er_model *model;
    int status;

    display_init(&display, (options->json ? DISPLAY_JSON : 0) | (options->plain ? DISPLAY_PLAIN : 0) |
                               (options->quiet ? DISPLAY_QUIET : 0) | (options->verbose ? DISPLAY_VERBOSE : 0) |
                               (live ? DISPLAY_METER : 0));
    session.display = &display;
    if (model_file_make(file, options->kernel, &model, problem) != 0) {
        return FAILED;
    }
    session.model = model;
    session.recording = options->save_audio != NULL ? &recording : NULL;
    status = 0;
    if (options->exec != NULL) {
        status = hook_open(&hook, options->exec, from_file, &display, problem);
        session.hook = &hook;
    }
    if (status == 0) {
        status = options->input != NULL ? run_file(&session, options, file, problem)
                                        : run_microphone(&session, options, file, problem);
    }
    er_model_destroy(model);
    return status;
}

/* What the flags ask for, with the model's file open. */
static int run(const struct options *options, const model_file *file, struct problem *problem)
{
    const int expect_words = options->input == NULL && options->model == NULL && !options->small;

    if (options->self_test) {
        return self_test(file, options->input, raw_rate(options), expect_words, problem);
    }
    if (options->logits) {
        return print_logits(file, options->kernel, options->input, raw_rate(options), problem);
    }
    if (options->doctor) {
        return doctor(file, options, problem);
    }
    return recognize(options, file, problem);
}

int main(int argc, char **argv)
{
    struct options options;
    struct problem problem;
    model_file file;
    int status;

    keep_standard_descriptors();
    output_open();
    status = options_parse(&options, argc, argv, &problem);
    if (status == 0 && options.help) {
        fputs(OPTIONS_HELP, stdout);
    } else if (status == 0 && options.version) {
        puts(er_version());
    } else if (status == 0) {
        interrupt_catch();
        if (options.list_devices) {
            status = list_devices(&options, &problem);
        } else {
            status = model_file_open(&file, options.model, options.small, &problem);
            if (status == 0) {
                status = run(&options, &file, &problem);
                model_file_close(&file);
            }
        }
    }
    if (status >= 0) {
        const int written = output_flush(&problem);

        status = written != 0 ? written : status;
    }
    if (status == FAILED) {
        problem_show(&problem);
        return EXIT_BAD_INPUT;
    }
    return status == INTERRUPTED ? 0 : status;
}
