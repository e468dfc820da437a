"""When espeak-ng speaks which phoneme, from its C library (speak_lib.h): the ground truth of lip closures."""

import ctypes
import ctypes.util

import numpy

RETRIEVAL, PHONEME_EVENTS, UTF8, PHONEME, END_OF_LIST = 1, 1, 1, 7, 0
RATE_PARAMETER = 1


class Identity(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class Event(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
                ("length", ctypes.c_int), ("milliseconds", ctypes.c_int), ("sample", ctypes.c_int),
                ("user", ctypes.c_void_p), ("id", Identity)]


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


def library():
    """espeak-ng's library, or None."""
    name = ctypes.util.find_library("espeak-ng")
    return ctypes.CDLL(name) if name else None


def speak(text: str, voice: str = "en-us", words_per_minute: int = 120):
    """(samples [n] in -1..1, rate in Hz, [(seconds, phoneme)])."""
    espeak, sound, events = library(), [], []
    rate = espeak.espeak_Initialize(RETRIEVAL, 0, None, PHONEME_EVENTS)

    def collect(samples, count, event):
        if samples and count > 0:
            sound.append(numpy.ctypeslib.as_array(samples, (count,)).copy())
        place = 0
        while event[place].type != END_OF_LIST:
            if event[place].type == PHONEME:
                events.append((event[place].milliseconds / 1000, event[place].id.string.decode(errors="replace")))
            place += 1
        return 0

    callback = CALLBACK(collect)
    espeak.espeak_SetSynthCallback(callback)
    espeak.espeak_SetVoiceByName(voice.encode())
    espeak.espeak_SetParameter(RATE_PARAMETER, words_per_minute, 0)
    data = text.encode() + b"\0"
    espeak.espeak_Synth(data, len(data), 0, 1, 0, UTF8, None, None)
    espeak.espeak_Synchronize()
    espeak.espeak_Terminate()
    return numpy.concatenate(sound).astype(numpy.float32) / 32768, rate, events
