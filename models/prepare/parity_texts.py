"""
Texts that tokenizers disagree about: several languages and scripts, emoji, marks, controls, spaces, addresses, code.

The sentences were written for this purpose; the rest is made from them with a fixed seed, so every run gives the same.
"""

import random

SENTENCES = {
    "english": [
        "The film was far better than its poster made me fear.",
        "I wouldn't buy this kettle again: it leaks, it's loud, and they've stopped answering.",
        "We'll meet at half past nine, won't we? You're late, I'd say!",
        "Delivery took 3 days; the price was $1,299.99 (10% off).",
        "A dull, slow, endless evening - and yet nobody left.",
        "She said 'yes', then \"no\", then nothing at all...",
        "MY ORDER NEVER CAME AND NOBODY CARES!!!",
        "ok",
        "Great value for the money, would recommend to anyone who cooks.",
        "The battery died after two hours of light use.",
        "Rock'n'roll isn't dead; it's just asleep, y'all.",
        "What a wonderful, warm and funny book this is.",
    ],
    "russian": [
        "Фильм оказался намного лучше, чем я ожидал.",
        "Ёжик съел ещё одно яблоко и уснул под ёлкой.",
        "Доставка задержалась на три дня, но поддержка ответила вежливо.",
        "Никогда больше не закажу здесь — всё сломалось за неделю!",
        "Съешь же ещё этих мягких французских булок.",
        "Хороший чайник: тихий, быстрый и недорогой.",
        "Это «лучший» сервис? Не смешите меня...",
        "Майский вечер, тёплый ветер, тихая река.",
    ],
    "chinese": [
        "这部电影比我想象的好得多。",
        "快递晚了三天,客服一直没有回复!",
        "味道很好,价格也便宜,下次还会再来。",
        "手机用了两个小时就没电了,真让人失望。",
        "今天天气不错,我们去公园走走吧。",
        "他说:“明天再说”,然后就走了。",
        "繁體字與简体字混合在一起。",
    ],
    "japanese": [
        "この映画は思っていたよりずっと良かったです。",
        "バッテリーがすぐに切れてしまい、がっかりしました。",
        "ありがとうございます!また来ます。",
        "カタカナとひらがな、そして漢字。ガギグゲゴ",
    ],
    "korean": ["이 영화는 생각보다 훨씬 좋았어요.", "배송이 너무 늦어서 실망했습니다.", "정말 감사합니다!"],
    "arabic": [
        "كان الفيلم أفضل بكثير مما توقعت.",
        "تأخر التوصيل ثلاثة أيام ولم يرد أحد.",
        "مُمتاز جِدًّا، شُكْرًا لَكُم!",
        "هل هذا هو السعر؟ نعم، ٢٥٠ ريالًا.",
        "الكتاب جميل ومفيد لكل قارئ.",
    ],
    "hebrew": ["הסרט היה טוב בהרבה ממה שציפיתי.", "שָׁלוֹם עֲלֵיכֶם, חָבֵר!"],
    "hindi": [
        "यह फ़िल्म मेरी उम्मीद से कहीं बेहतर थी।",
        "बैटरी दो घंटे में ख़त्म हो गई।",
        "बहुत अच्छा, धन्यवाद!",
    ],
    "thai": ["หนังเรื่องนี้ดีกว่าที่คิดไว้มาก", "ส่งของช้าไปสามวัน", "น้ำใจดีมากค่ะ"],
    "greek": [
        "Η ταινία ήταν πολύ καλύτερη απ' όσο περίμενα.",
        "Ο ΔΡΟΜΟΣ ΤΗΣ ΕΠΙΣΤΡΟΦΗΣ ΕΙΝΑΙ ΜΑΚΡΥΣ.",
        "Άξιος λόγος, σοφός άνθρωπος.",
    ],
    "german": [
        "Größere Straßen, süße Äpfel und ein böses Übel.",
        "DIE STRAẞE IST LANG.",
        "Nie wieder: laut, teuer und nach einer Woche kaputt!",
    ],
    "french": [
        "L'été dernier, cœur léger, nous étions à la plage.",
        "Ça ne vaut rien : trop cher, trop lent, déçu !",
    ],
    "spanish": ["¿Qué tal? ¡El niño comió piñas añejas!", "Llegó tarde y roto; pésimo servicio."],
    "turkish": ["İstanbul'da ışıl ışıl bir gün, IĞDIR ve İzmir.", "Şarkı çok güzeldi, öğretmen ağladı."],
    "vietnamese": ["Bộ phim hay hơn tôi tưởng rất nhiều.", "Giao hàng chậm ba ngày, thất vọng quá!"],
    "polish": ["Zażółć gęślą jaźń, proszę pana.", "Źle działa i długo się ładuje."],
    "georgian": ["ფილმი ბევრად უკეთესი იყო.", "ᲗᲑᲘᲚᲘᲡᲘ დიდი ქალაქია."],
    "others": [
        "Հայերեն տեքստ։",
        "தமிழ் நல்ல மொழி.",
        "বাংলা ভাষা সুন্দর।",
        "አማርኛ ጥሩ ነው።",
        "မြန်မာစာ",
        "ខ្មែរ ភាសា",
        "Ꭰ ꭰ ᏣᎳᎩ",
        "ⲁⲃⲅ ⰀⰁ ⴀⴁ",
    ],
}

EMOJI = [
    "😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "❤️", "☠︎", "1️⃣",
    "🧑🏿‍🚀", "🤷🏻‍♀️", "🫠", "©️", "™", "🀄", "🕵️‍♂️", "👨‍⚕️",
]  # fmt: skip

SPACES = [
    " ", "\t", "\n", "\r\n", "\u00a0", "\u2002", "\u2009", "\u200a",
    "\u3000", "\u202f", "\u205f", "\u1680", "\u2028", "\u2029", "\u000b", "\u000c",
]  # fmt: skip

INVISIBLE = [
    "\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u2060", "\ufeff", "\u00ad",
    "\u061c", "\u180e", "\u2066", "\u2069", "\ufe0f", "\ufffd", "\ufffc", "\U000e0041",
]  # fmt: skip

PIECES = [
    "https://example.org/a/b?c=d&e=%20f#g",
    "http://пример.рф/путь?q=да",
    "name.surname+tag@mail.example.com",
    "@user_42 #tag #ТЕГ #标签",
    "for (let i = 0; i < n; ++i) { a[i] += b[i] * 2; }",
    "def f(x: int) -> str:\n    return f\"{x!r:>10}\"\n",
    "SELECT * FROM t WHERE name LIKE 'O''Brien%' -- note",
    "<div class=\"a b\">&nbsp;&lt;tag/&gt;</div>",
    "{\"key\": [1, 2.5e-3, null, true], \"ключ\": \"值\"}",
    "C:\\Users\\name\\file.txt /usr/local/bin ~/.config",
    "0x1F 1_000_000 1,000,000.00 3.14e-10 ½ ² Ⅷ ① ٣٤ 四五 ৭",
    "$ € £ ¥ ₽ ₿ ^ ` ~ | < > = + ± × ÷ ∑ √ ∞ ≠ ≤",
    "“quoted” ‘single’ «guillemets» „low“ 「角」 『鉤』 –—― … ‥ ‽ ⁇ ⸘",
    "fi fl ffi ſt æ œ ß ẞ ſ ı İ K Å Ω ㎏ ㍿ ㋿ ﷺ Å ℡ ™ ª º",
    "ABC abc 123 !?, アイウ ガ ㈱ ①②③ ﺍﻟﻌ",
    "e\u0301 é a\u0308 ä n\u0303 ñ c\u0327 ç i\u0307 \u0438\u0306 й \u30ab\u3099 ガ 각 각",
    "Z\u0351\u036b\u0343a\u0340\u0341l\u0334\u0335g\u0321\u0322o\u0489\u0488\u20dd\u20e3",
    "[CLS] text [SEP] more [MASK] [PAD] [UNK] [cls] [Sep]",
    "<s> text </s> more <mask> <pad> <unk> <S>",
    "▁under ▁▁ _low_ __init__ ##ing Ġword Ċ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "don't DON'T don’t 'tis 's 're 've 'm 'll 'd o'clock 's's",
    "a.b,c;d:e!f?g-h_i/j\\k|l(m)n[o]p{q}r",
    "...!!!???---___***",
    "\U00020000\U0002a6df \U0002b740 \U0002b820\U0002ceb0 \U00030000 㐀䶵 豈 \U0002f800 〇 々 〆",
    "𝒜𝓁𝓅𝒽𝒶 𝟙𝟚𝟛 𐍈𐌰 𐐀𐐨 🄰🅰 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "null NULL None undefined NaN \\0 \\u0000 %s %d {}",
]

# Code points of these blocks are drawn for the generated texts.
BLOCKS = [
    (0x20, 0x7E), (0xA0, 0x17F), (0x180, 0x24F), (0x250, 0x2AF), (0x2B0, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF),
    (0x400, 0x52F), (0x531, 0x58F), (0x591, 0x5F4), (0x600, 0x6FF), (0x700, 0x74F), (0x900, 0x97F), (0x980, 0x9FB),
    (0xB82, 0xBFA), (0xE01, 0xE5B), (0xE81, 0xEDF), (0xF00, 0xFDA), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF),
    (0x1200, 0x137C), (0x13A0, 0x13FD), (0x1780, 0x17F9), (0x1E00, 0x1EFF), (0x1F00, 0x1FFE), (0x2000, 0x206F),
    (0x2070, 0x209C), (0x20A0, 0x20BE), (0x20D0, 0x20F0), (0x2100, 0x214F), (0x2150, 0x218B), (0x2190, 0x23FA),
    (0x2460, 0x24FF), (0x2500, 0x27BF), (0x2900, 0x2B73), (0x2E80, 0x2FD5), (0x3000, 0x30FF), (0x3131, 0x33FF),
    (0x3400, 0x4DB5), (0x4E00, 0x9FD5), (0xA000, 0xA48C), (0xAC00, 0xD7A3), (0xF900, 0xFAD9), (0xFB00, 0xFB4F),
    (0xFB50, 0xFDFD), (0xFE20, 0xFE6B), (0xFE70, 0xFEFC), (0xFF01, 0xFFEE), (0x1D400, 0x1D7FF), (0x1F300, 0x1F5FF),
    (0x1F600, 0x1F64F), (0x1F680, 0x1F6D0), (0x20000, 0x2A6D6), (0x2F800, 0x2FA1D),
]  # fmt: skip


# What @huggingface/tokenizers and the tokenizers package of Python read differently in some family. The parity test says in
# which, and expects them to stay different there and to be equal in all others.
DIFFERENT = [
    "one\u0085two \u0085 three",
    "new mark \u0643\u08d4 e\u1df6",
    "new format \u08e2 control",
    "new punctuation a\u2e4fb \u2e52",
]


# For the table of SentencePiece's nmt_nfkc alone: clusters of characters, compatibility forms, spaces and invisible ones.
CLUSTERS = [
    "plain ASCII, untouched! ~",
    "a\tb\r\nc\x00d\x01e",
    "\ufb01 \xbd \u338f \u2167 \ufdfa \u2122",
    "\u30ac \uff8a\uff9f \uff21\uff22\uff23 \uff5e \uff5ea",
    "e\u0301 \u00e9 \u30ab\u3099 \u1100\u1161\u11a8",
    " ".join(EMOJI),
    "a\u200bb\u200cc\u200dd\ufeffe\u00adf\u00a0g\u3000h",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u094d\u200d\u0937",
    "\u0600a \u0622\u0627\u0653",
    "\u0344 \u0340a\u0341",
    "x\u0301\u0302\u0303y",
    "\u212b \u2126 \u212a \u017f",
    "\u2026\u2025 \ufb00\uf900 \u337f",
]


def sentences() -> list[str]:
    return [text for group in SENTENCES.values() for text in group]


def parity_texts() -> list[str]:
    """All texts, without repeats, in an order that stays."""
    rng = random.Random(20)
    all_sentences = sentences()
    texts = list(all_sentences)
    texts += [text.upper() for text in all_sentences[::4]]
    texts += PIECES + EMOJI
    texts += ["", " ", "   ", "\t\n ", "\u3000\u3000", " " * 500, "a", " a", "a ", "  a  b  ", "\n\na\n\nb\n"]
    texts += [f"one{space}two {space}{space} three{space}" for space in SPACES]
    texts += [f"in{mark}visible {mark} {mark}mark" for mark in INVISIBLE]
    controls = (*range(0, 9), *range(14, 32), 0x7F, 0x80, 0x8F, 0x9F)
    texts += [f"control{chr(code)}character {chr(code)} here" for code in controls]
    texts += ["".join(EMOJI), " ".join(EMOJI), "nice " + "👍" * 200, "e" + "\u0301" * 300, "👩‍" * 50]
    for _ in range(60):
        texts.append(_mixed(rng, all_sentences))
    for low, high in BLOCKS:
        texts.append(_of_block(rng, low, high))
    texts += [_ten_thousand(rng, group) for group in SENTENCES.values()]
    texts += ["x" * 10_000, "漢" * 10_000, "word " * 2_000, "😀" * 5_000, "a b\u0301" * 2_500]
    return list(dict.fromkeys(texts))


def _mixed(rng: random.Random, all_sentences: list[str]) -> str:
    parts = []
    for _ in range(rng.randint(2, 6)):
        source = rng.choice((all_sentences, all_sentences, PIECES, EMOJI, INVISIBLE))
        part = rng.choice(source)
        cut = rng.randint(1, len(part))
        parts.append(rng.choice((part, part[:cut], part[cut:], part.upper(), part.swapcase())))
        parts.append(rng.choice(("", " ", " ", rng.choice(SPACES))))
    return "".join(parts)


def _of_block(rng: random.Random, low: int, high: int) -> str:
    characters = [chr(rng.randint(low, high)) for _ in range(40)]
    return "".join(character + rng.choice(("", "", "", " ", "a")) for character in characters)


def _ten_thousand(rng: random.Random, group: list[str]) -> str:
    text = ""
    while len(text) < 10_000:
        text += rng.choice(group) + rng.choice((" ", " ", "\n"))
    return text[:10_000]
