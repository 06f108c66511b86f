"""The words that invented names and titles are made of, in six alphabets.

Titles are lists of things ("Winter, the River and a Garden"), because such a list is grammatical in every language here.
"""

# ruff: noqa: RUF001 - words of several alphabets look alike in places

from dataclasses import dataclass, field

ENGLISH_GIVEN = (
    "Ada Alice Amos Beatrice Boris Chidi Clara Dana Edith Edwin Farid Flora Greta Hannah Hugo Ines Iris Jonah Kaya Lars Leonard "
    "Mabel Mina Noor Otto Petra Quentin Rosa Søren Thomas Ursula Walter"
)
ENGLISH_FAMILY = (
    "Abbott Ashdown Bell Çelik Carver Dunmore Dvořák Eze Farrow Fenwick García Grant Haddad Hale Hollis Ito Jensen Kowalski Lark "
    "Lindqvist Marlow Nakamura Okafor Pike Quill Rowe Sandoval Tremaine Underhill Vance Whitlock Yates"
)
ENGLISH_WORDS = (
    "The Quiet House|Winter|The River|Salt|A Garden|Letters|Stone|The Orchard|Night|The Sea|A Long Road|Glass|The Last Hour|Birds|"
    "Memory|Light|The Mapmaker|Ashes|A Small Fire|The Island|Tides|The Clock Tower|Honey|Snow|The Bridge|Thieves|A Lost City|"
    "The Harbour|Silence|Wolves|The Library|Rain|Paper Boats|The Orphan|Iron|A Borrowed Name|Moths|The Far Field|Thunder|Summer"
)
AMERICAN_WORDS = (
    "The Highway|A Blue Motel|Desert|Baseball|The Kitchen|Thunder|A Border Town|County Lines|The Train|Radio Nights|Hunger|Dust|"
    "The Porch Light|Coyotes|Summer|A Pickup Truck|The Diner|Cornfields|A Stranger|The Canyon|Whiskey|Wildfire|The Motor Court|Gold"
)


@dataclass(frozen=True)
class Culture:
    """Whose names and titles they are.

    Attributes:
        language: as a catalogue writes it.
        share: of a hundred authors.
        given: given names.
        family: family names; no two cultures that write differently share one, so that every name stands once.
        words: what a title speaks of.
        comma: between the first things of a title.
        last: before its last one.
        family_first: whether the family's name comes before the given one.
    """

    language: str
    share: int
    given: tuple[str, ...]
    family: tuple[str, ...]
    words: tuple[str, ...]
    comma: str = field(default=", ")
    last: str = field(default=" and ")
    family_first: bool = field(default=False)


def _culture(language: str, share: int, given: str, family: str, words: str, **customs: str | bool) -> Culture:
    return Culture(language, share, tuple(given.split()), tuple(family.split()), tuple(words.split("|")), **customs)  # type: ignore[arg-type]  # the keywords above


CULTURES = (
    _culture("eng", 60, ENGLISH_GIVEN, ENGLISH_FAMILY, ENGLISH_WORDS),
    _culture("en-US", 16, ENGLISH_GIVEN, ENGLISH_FAMILY, AMERICAN_WORDS),
    _culture(
        "fre",
        6,
        "Aurélie Benoît Camille Cécile Denis Éloïse Émile Étienne François Gaëlle Hélène Jérôme Lucie Margaux Mathieu Noëlle "
        "Raphaël Solène Théo",
        "Arnaud Bélanger Besançon Chevalier Côté Delacroix Dufresne Faucher Gaillard Hébert L'Écuyer Lefèvre Maréchal Noël "
        "Rousselet Séguin Thévenin Vauquelin Villeneuve",
        "Le Jardin|L'Été|La Forêt|La Lumière|Le Cœur|La Nuit|Le Château|La Rivière|L'Étranger|L'Hôtel|La Neige|Le Voyage|"
        "La Mer|Un Silence|Les Oiseaux|La Fenêtre|L'Île|Le Fantôme|Les Années",
        last=" et ",
    ),
    _culture(
        "ger",
        5,
        "Änne Bärbel Detlef Elfriede Friedrich Günther Hannelore Heinz Ilse Jürgen Käthe Ludwig Margarethe Niklas Ottilie Rüdiger "
        "Sigrid Ulrike Volker Wilhelmine",
        "Ackermann Böttcher Drechsler Eichhorn Förster Größmann Hölzl Jäger Krüger Lößnitz Möllendorf Nußbaum Öttinger Pfäffli "
        "Rößler Schönfeld Trautmann Überall Vögeli Weißkopf",
        "Der Wald|Die Straße|Das Mädchen|Das Licht|Der Sturm|Das Jahrhundert|Das Glück|Die Tür|Der Schnee|Die Brücke|Der Fluß|"
        "Die Vögel|Das Gewölbe|Ein Märchen|Die Größe|Der König|Die Nacht|Das Öl|Die Bücher|Der Herbst",
        last=" und ",
    ),
    _culture(
        "rus",
        5,
        "Алексей Анна Борис Вера Виктор Галина Дарья Евгений Зоя Иван Кирилл Лев Мария Надежда Ольга Павел Сергей Татьяна Фёдор",
        "Алмазов Берёзкин Воронин Горский Дубровин Ершов Жуковец Зимин Ильинский Калинин Лебедев Муравьёв Новгородов Озеров "
        "Рябинин Соколовский Тихонов Филатов Щукин",
        "Зимний дом|Река|Тихий сад|Письма|Ночь|Море|Дорога|Память|Птицы|Степь|Свет|Метель|Старый мост|Тень|Ёлка|Город|Колокол|"
        "Чужой берег|Снег",
        last=" и ",
    ),
    _culture(
        "gre",
        3,
        "Αθηνά Αλέξης Βασίλης Γιώργος Δάφνη Ειρήνη Ελένη Θωμάς Ιωάννα Κώστας Λυδία Μάρκος Μυρτώ Νίκος Ξένια Ορέστης Πέτρος Σοφία "
        "Στέλιος Φωτεινή",
        "Αγγελίδης Βλάχος Γαλάνης Δημητρίου Ευσταθίου Ζαχαρίου Ηλιάδης Θεοδώρου Ιωαννίδης Καραγιάννης Λαμπράκης Μαυρίδης Νικολάου "
        "Ξανθόπουλος Οικονόμου Παππάς Ράλλης Σαββίδης Τσάτσος Φωτίου",
        "Το Σπίτι|Ο Χειμώνας|Ο Ήλιος|Η Θάλασσα|Η Νύχτα|Ο Δρόμος|Το Φως|Ο Κήπος|Ο Άνεμος|Το Νησί|Η Μνήμη|Τα Πουλιά|Η Σιωπή|"
        "Ο Καθρέφτης|Η Πόλη|Το Όνειρο|Οι Σκιές|Η Άνοιξη|Το Γράμμα",
        last=" και ",
    ),
    _culture(
        "jpn",
        3,
        "愛 明 健一 沙織 翔太 千尋 直樹 夏美 春樹 遥 陽子 洋介 理恵 涼 美咲 真 結衣 蓮 一郎 雪",
        "青木 石川 上田 遠藤 大江 加藤 木村 小林 佐藤 清水 高橋 田中 中村 西田 橋本 藤井 松本 森 山口 渡辺",
        "冬の家|静かな川|手紙|夜|海|長い道|記憶|光|鳥|雪国の駅|庭|時計|秘密|影|島|図書館|風|春の雨|猫|橋",
        comma="、",
        last="と",
        family_first=True,
    ),
    _culture(
        "ara",
        2,
        "أحمد أمينة بشير جميلة حسن خديجة رامي رنا زينب سامي سلمى طارق عادل فاطمة كريم ليلى محمود نور هالة يوسف",
        "البستاني التميمي الجابري الحسيني الخطيب الراوي الزهراني السعدي الشامي الصباغ الطيب العطار الغزالي الفارسي القاضي الكاتب "
        "المصري النجار الهاشمي الوراق",
        "البيت|الشتاء|النهر|الليل|البحر|الطريق|الذاكرة|الضوء|الرسائل|الحديقة|المدينة|الطائر|الصمت|الجزيرة|الجسر|المطر|النافذة|الظل|"
        "الصحراء|المكتبة",
        comma="، ",
        last=" و",
    ),
)
BRANCHES = ("Central", "Riverside", "North Hill", "Harbour", "Old Town", "Station", "Südstadt", "Mobile Library")
