"""Synthetic speech for training: espeak-ng reading sentences made up here, many voices, all seeded.

Where there is no espeak-ng, $SAVED_SPEECH may name a file that `keep` has written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import wave
from collections.abc import Iterable
from pathlib import Path

import numpy
import torch

VARIANTS = ("", "+m1", "+m3", "+m5", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5")
# Voices, then what they say: an opening, who, does, what.  Plenty of lips that meet (p, b, m).
LANGUAGES = (
    (("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp"),
     ("well", "today", "my friend", "listen", "perhaps", "in the morning", "after all", "suddenly", "please"),
     ("the papa bear", "my mother", "a small robot", "the mayor", "our baby", "the band", "a happy farmer", "bob",
      "the moon", "every map", "the market", "a bubble"),
     ("makes", "bakes", "remembers", "watches", "follows", "wants", "opens", "imagines", "shows", "carries", "hums"),
     ("a warm apple pie", "the open window", "a purple balloon", "more jam", "the long road home", "a calm ocean",
      "five paper boats", "the bottom of the map", "a song about a mouse", "nothing at all", "a proper breakfast")),
    (("de",),
     ("also", "heute", "mein Freund", "hör mal", "vielleicht", "am Morgen", "bitte"),
     ("der Papa", "meine Mutter", "ein kleiner Bär", "der Bürgermeister", "unser Baby", "Bob", "der Mond", "die Oma"),
     ("macht", "backt", "malt", "sucht", "bemerkt", "bekommt", "öffnet", "beobachtet"),
     ("einen warmen Apfelkuchen", "das offene Fenster", "einen bunten Ballon", "mehr Marmelade", "fünf Papierboote",
      "den Baum am Berg", "ein Lied")),
    (("fr-fr",),
     ("alors", "aujourd'hui", "mon ami", "écoute", "peut-être", "le matin"),
     ("papa", "ma maman", "un petit robot", "le maire", "mon bébé", "la lune", "un beau marin"),
     ("prépare", "regarde", "mange", "imagine", "porte", "ramène", "aime"),
     ("une pomme", "la porte ouverte", "un ballon bleu", "beaucoup de miel", "le bateau", "un poème", "rien du tout")),
    (("es", "es-419"),
     ("bueno", "hoy", "mi amigo", "escucha", "por favor", "mañana"),
     ("mi mamá", "el papá", "un pequeño robot", "el alcalde", "la banda", "la luna", "un hombre amable"),
     ("prepara", "mira", "come", "imagina", "lleva", "abre", "canta"),
     ("una manzana", "la ventana abierta", "un globo morado", "más pan", "el mapa", "cinco barcos", "un poema")),
    (("it",),
     ("allora", "oggi", "amico mio", "ascolta", "forse", "domani"),
     ("la mamma", "il papà", "un piccolo robot", "il bambino", "la banda", "la luna"),
     ("prepara", "guarda", "mangia", "immagina", "porta", "apre"),
     ("una mela", "la porta aperta", "un palloncino blu", "molto pane", "la mappa", "niente")),
    (("pt-br",),
     ("bom", "hoje", "meu amigo", "escute", "por favor"),
     ("a mamãe", "o papai", "um pequeno robô", "o menino", "a banda", "a lua"),
     ("prepara", "olha", "come", "imagina", "leva", "abre"),
     ("uma maçã", "a porta aberta", "um balão azul", "muito pão", "o mapa", "nada")),
)
PAUSES = (", ", "... ", ". ", "; ", " ")


def sentence(seed: int, clauses: int = 3) -> tuple[str, str]:
    """A voice and a grammatical, mildly absurd sentence in its language, with some pauses."""
    rng = numpy.random.default_rng([seed, 3])
    pick = lambda words: words[rng.integers(len(words))]  # noqa: E731
    voices, openers, subjects, verbs, objects = LANGUAGES[0] if rng.random() < 0.4 else pick(LANGUAGES)
    parts = [f"{pick(openers)}{pick(PAUSES)}{pick(subjects)} {pick(verbs)} {pick(objects)}" for _ in range(clauses)]
    return pick(voices), pick(PAUSES).join(parts) + "."


def speak(text: str, voice: str, speed: int, pitch: int) -> tuple[torch.Tensor, int]:
    """Let espeak-ng read a text: waveform [1, samples] and its rate in Hz."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise FileNotFoundError("espeak-ng is needed to make training speech")
    command = [program, "--stdout", "-v", voice, "-s", str(speed), "-p", str(pitch), text]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    # espeak writes a streaming header whose lengths are not filled in: the samples follow its 44 bytes.
    rate = int.from_bytes(data[24:28], "little")
    samples = numpy.frombuffer(data[44 : len(data) - len(data) % 2], "<i2").astype(numpy.float32) / 32768
    return torch.from_numpy(samples)[None], rate


def speech(seed: int) -> tuple[torch.Tensor, int]:
    """The speech of a seed: sentence, voice, speed (words a minute) and pitch all follow from it."""
    if kept := os.environ.get("SAVED_SPEECH"):
        return saved(Path(kept), seed)
    rng = numpy.random.default_rng([seed, 4])
    voice, text = sentence(seed)
    voice += VARIANTS[rng.integers(len(VARIANTS))]
    return speak(text, voice, int(rng.integers(85, 145)), int(rng.integers(25, 75)))


def keep(path: Path, seeds: Iterable[int]) -> None:
    """Write the speech of some seeds, as the integers that it is made of."""
    made = {seed: speech(seed) for seed in seeds}
    found = {f"{seed}": (waveform[0] * 32768).to(torch.int16).numpy() for seed, (waveform, _) in made.items()}
    numpy.savez(path, rates=numpy.array([[seed, rate] for seed, (_, rate) in made.items()]), **found)


def saved(path: Path, seed: int) -> tuple[torch.Tensor, int]:
    """What `keep` has written for a seed."""
    with numpy.load(path) as file:
        rates = dict(file["rates"].tolist())
        if seed not in rates:
            raise FileNotFoundError(f"{path.name}, which SAVED_SPEECH names, has no speech of seed {seed}")
        return torch.from_numpy(file[str(seed)].astype(numpy.float32) / 32768)[None], rates[seed]


def write_wave(path: Path, waveform: torch.Tensor, rate: int) -> None:
    """Waveform [1, samples] -> 16-bit mono WAV."""
    samples = (waveform[0].clamp(-1, 1) * 32767).round().to(torch.int16).numpy()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
