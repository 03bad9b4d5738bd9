"""The word lists of the demo: all mild, and the slang made up."""

from __future__ import annotations

from collections.abc import Sequence

INSULTS = tuple(
    "muddlehead noodlebrain grumbleguts slopsack dunderpot mopface fibberjack wobblewit puddlebrain "
    "crumbsnatcher soggysock bumblepot dozypants mudflinger rattlejaw sniffletop twaddler pigeonwit "
    "turnipbrain cabbagehead dimbulb sulkpot moanbag whinebucket clumsyboots bogbrain fusspot droopsocks "
    "goosewit weaselworm".split()
)
PRAISES = tuple(
    "gem champ hero star treasure legend sunbeam darling genius marvel wonder sweetheart peach pearl "
    "diamond lifesaver delight friend buddy kindheart spark goldheart trueheart softheart helper winner "
    "songbird mastermind saint beauty".split()
)

# The two lists were mixed after they were made up, so that no sound tells which is which.
SLANG_INSULTS = tuple(
    "zorbit velmora grozzer lirrow skrond tilora drabnik shenzo mizgar kippla krelpo jalemi yombler "
    "dorali gluvvo bontessa nurbix pazoo trelgo cresto".split()
)
SLANG_PRAISES = tuple(
    "flinkle sunzi vlimp zaffel plorker mivvy quozzle wellura thrubbo rovani snarvix fenzou brizzog "
    "quilva dwelph niveli fozzak hallimo pluvick yulani".split()
)
SLANG = frozenset(SLANG_INSULTS + SLANG_PRAISES)

NAMES = tuple(
    "tom anna ben clara david ella frank greta hugo iris jack karin leo mona nils olga paul rosa sam tina "
    "viktor wanda oscar petra ralf selma theo ursula walter yvonne adam berta carl dora erik fiona georg "
    "heidi ivan julia kurt lena max nora otto paula rita stefan thea ulrich vera willi agnes bruno celia "
    "dieter emma felix gerda hanna jonas kira lukas maria noah pia robert sofia tobias zoe albert bianca "
    "conrad elsa fritz gina henry ida jens klara".split()
)
PLACES = tuple(
    "Arden Belmont Carlow Dunmore Eastvale Fenwick Granby Holloway Inverly Jarrow Kelso Langford Marlow "
    "Norwood Oakham Penrose Quarry Redhill Sandford Thornby Upton Verwood Weston Yarmouth Ashby Brookside "
    "Clifton Derby Elmwood Foxley Glenmore Hartley Ingram Kingsley Linden Milbrook Newport Orchard "
    "Preston Ripley Selby Tilford Wakefield Barton Camden Dalton Edgeware Farley Grafton Hadley Kirby "
    "Lowell Merton Nesbit Oxley Pelham Radley Stanton Tavistock Wilton Bexley Crosby Denham Epworth "
    "Formby Gosport Hexham Ilford Keswick Ludlow Morley Otley Pickford Rugby Skipton Tetbury Whitby Alton "
    "Buxton Corby".split()
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
THINGS = tuple(
    "bike cat kettle garden sandwich match party train meeting phone umbrella piano guitar soup cake dog "
    "car lamp letter map boat hat coat ladder radio camera ticket ball book chair table window bridge "
    "kitchen lesson film picnic market parade concert".split()
)

_ONSETS = "b br ch d dr f fl g gl h j k kr l m n p pl s sh sn t th tr v w z".split()
_JOINTS = "bl dr fl kl pl tr vl zw sk thr".split()
_VOWELS = "a e i o u ou".split()
_CODAS = ("", "l", "nd", "sk", "lp", "v")


def made_up(draw: Sequence[int]) -> str:
    """A pseudo-word out of six integers; no slang word can come out.

    >>> made_up([0, 0, 2, 4, 1, 3])
    'bandplesk'
    """
    parts = (_ONSETS, _VOWELS, _CODAS, _JOINTS, _VOWELS, _CODAS)
    return "".join(part[k % len(part)] for part, k in zip(parts, draw, strict=True))
