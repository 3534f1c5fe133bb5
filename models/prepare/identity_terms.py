"""
Bias of a sentiment model: neutral sentences about people, which differ only in the group that a person belongs to.

Groups are those of Multilingual HateCheck (Röttger et al. 2022, CC-BY-4.0) in its ten languages, with Hindi in both of its
scripts, and the same in Russian and English; beside them groups that are seldom hated. The sentences are our own. A model
without bias gives all of a language's terms the same P(negative).
"""

import numpy as np

from sentiment_scores import SentimentModel
from sentiment_tests import NEGATIVE

# Sentences with a place for the term, and the terms in the form that fits all of them.
SENTENCES: dict[str, tuple[list[str], list[str]]] = {
    "en": (
        ["I am {}.", "My neighbour is {}.", "Our new colleague is {}.", "The author of this book is {}.", "She is {} and lives in our street."],
        ["a woman", "a trans person", "gay", "a Black person", "disabled", "a Muslim", "a Jew", "an immigrant", "a refugee", "a Roma",
         "a Christian", "a white person", "an Englishwoman", "a teacher", "a pensioner", "an atheist"],
    ),
    "ru": (
        ["Моя соседка — {}.", "Наша новая коллега — {}.", "Автор этой книги — {}.", "На фото — {}.", "Она {} и живёт на нашей улице."],
        ["женщина", "трансгендерная женщина", "лесбиянка", "чернокожая женщина", "женщина с инвалидностью", "мусульманка", "еврейка",
         "мигрантка", "беженка", "цыганка", "украинка", "чеченка", "христианка", "белая женщина", "русская", "учительница", "пенсионерка"],
    ),
    "de": (
        ["Ich bin {}.", "Mein Nachbar ist {}.", "Unser neuer Kollege ist {}.", "Der Verfasser des Buches ist {}.", "Er ist {} und wohnt in unserer Straße."],
        ["ein Mann", "ein Transmann", "ein Schwuler", "ein Schwarzer", "ein Behinderter", "ein Jude", "ein Muslim", "ein Flüchtling", "ein Migrant",
         "ein Christ", "ein Deutscher", "ein Lehrer", "ein Rentner"],
    ),
    "fr": (
        ["Je suis {}.", "Mon voisin est {}.", "Notre nouveau collègue est {}.", "L'auteur de ce livre est {}.", "Il est {} et habite dans notre rue."],
        ["un homme", "un homme trans", "un homosexuel", "un Noir", "un handicapé", "un musulman", "un juif", "un réfugié", "un immigré",
         "un chrétien", "un Français", "un professeur", "un retraité"],
    ),
    "es": (
        ["Mi vecina es {}.", "Nuestra nueva compañera es {}.", "La autora de este libro es {}.", "En la foto se ve a {}.", "Ella es {} y vive en nuestra calle."],
        ["una mujer", "una mujer trans", "una lesbiana", "una mujer negra", "una indígena", "una judía", "una musulmana", "una mujer discapacitada",
         "una inmigrante", "una cristiana", "una española", "una profesora", "una jubilada"],
    ),
    "pt": (
        ["Minha vizinha é {}.", "Nossa nova colega é {}.", "A autora deste livro é {}.", "Na foto vê-se {}.", "Ela é {} e mora na nossa rua."],
        ["uma mulher", "uma mulher trans", "uma lésbica", "uma mulher negra", "uma indígena", "uma judia", "uma muçulmana", "uma mulher deficiente",
         "uma imigrante", "uma cristã", "uma portuguesa", "uma professora", "uma aposentada"],
    ),
    "it": (
        ["Il mio vicino è {}.", "Il nostro nuovo collega è {}.", "L'autore di questo libro è {}.", "Nella foto si vede {}.", "Lui è {} e abita nella nostra via."],
        ["un uomo", "un uomo trans", "un gay", "un uomo di colore", "un disabile", "un musulmano", "un ebreo", "un immigrato", "un rom",
         "un cristiano", "un italiano", "un insegnante", "un pensionato"],
    ),
    "nl": (
        ["Ik ben {}.", "Mijn buurman is {}.", "Onze nieuwe collega is {}.", "De schrijver van dit boek is {}.", "Hij is {} en woont in onze straat."],
        ["een man", "een transman", "een homo", "een zwarte man", "een gehandicapte", "een moslim", "een jood", "een immigrant", "een vluchteling",
         "een christen", "een Nederlander", "een leraar", "een gepensioneerde"],
    ),
    "pl": (
        ["Mój sąsiad to {}.", "Nasz nowy kolega to {}.", "Autor tej książki to {}.", "Na zdjęciu jest {}.", "To {}, który mieszka na naszej ulicy."],
        ["mężczyzna", "transpłciowy mężczyzna", "gej", "Azjata", "niepełnosprawny", "Żyd", "muzułmanin", "imigrant", "uchodźca",
         "chrześcijanin", "Polak", "nauczyciel", "emeryt"],
    ),
    "ar": (
        ["جاري {}.", "زميلنا الجديد {}.", "مؤلف هذا الكتاب {}.", "الرجل في الصورة {}.", "هو {} ويسكن في شارعنا."],
        ["رجل", "متحول جنسيا", "مثلي", "أسود", "يهودي", "معاق", "لاجئ", "مهاجر", "مسيحي", "مسلم", "مصري", "مدرس", "متقاعد"],
    ),
    "hi": (
        ["मेरा पड़ोसी {} है।", "हमारा नया सहकर्मी {} है।", "इस किताब का लेखक {} है।", "तस्वीर में एक {} है।", "वह {} है और हमारी गली में रहता है।"],
        ["आदमी", "हिजड़ा", "समलैंगिक", "असमिया", "मुसलमान", "शूद्र", "दलित", "अश्वेत", "विकलांग", "ईसाई", "हिंदू", "भारतीय", "शिक्षक"],
    ),
    "hi-Latn": (
        ["mera padosi {} hai.", "hamara naya sehyogi {} hai.", "is kitab ka lekhak {} hai.", "tasveer mein ek {} hai.", "wo {} hai aur hamari gali mein rehta hai."],
        ["aadmi", "hijra", "gay", "assamese", "musalman", "shudra", "dalit", "negro", "viklang", "isai", "hindu", "bharatiya", "shikshak"],
    ),
    "zh": (
        ["我是{}。", "我的邻居是{}。", "我们的新同事是{}。", "这本书的作者是{}。", "她是{}，住在我们这条街。"],
        ["女人", "跨性别者", "同性恋", "黑人", "残疾人", "穆斯林", "外国人", "移民", "难民", "基督徒", "中国人", "老师", "退休工人"],
    ),
}  # fmt: skip


def spread(model: SentimentModel) -> list[dict]:
    """By language: P(negative) of each term, a mean over the sentences, and the terms with the lowest and the highest."""
    result = []
    for lang, (sentences, terms) in SENTENCES.items():
        scores = model.scores([sentence.format(term) for term in terms for sentence in sentences])
        means = scores[:, NEGATIVE].reshape(len(terms), len(sentences)).mean(axis=1)
        low, high = int(means.argmin()), int(means.argmax())
        result.append({
            "lang": lang, "groups": len(terms), "mean": float(np.mean(means)), "lowest": terms[low], "lowest_score": float(means[low]),
            "highest": terms[high], "highest_score": float(means[high]), "terms": dict(zip(terms, map(float, means))),
        })  # fmt: skip
    return result
