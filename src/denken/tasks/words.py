"""Everyday words for questions about letters and order, in English and German."""

ENGLISH = """\
apple banana cherry strawberry orange lemon grape melon pear plum bread butter cheese coffee sugar water table chair
window door garden kitchen mirror carpet pillow blanket river mountain valley forest island ocean desert village
city street bridge tower castle church school library market station airport hospital museum theatre dog cat horse
sheep rabbit mouse eagle sparrow spider butterfly dolphin elephant giraffe monkey tiger lion penguin turtle green
yellow purple silver golden orange brown winter summer spring autumn morning evening night monday friday sunday
january april october doctor teacher farmer baker painter writer singer driver sister brother mother father cousin
friend computer keyboard screen battery engine rocket planet comet galaxy star moon sun cloud thunder lightning rain
snow wind happy clever quick quiet gentle brave honest bright simple strange letter number question answer reason
thought memory dream story poem music guitar piano violin trumpet drum dance paper pencil eraser ruler notebook
envelope stamp box mississippi balloon committee address success bookkeeper parallel rhythm queue onion pepper
carrot potato tomato garlic hello world lamp clock glass spoon fork knife plate bottle candle ribbon button needle
thread cotton wool leather stone iron copper marble diamond pearl feather shell anchor sail harbour lantern ladder
hammer saw nail screw wheel brick
""".split()  # noqa: SIM905

GERMAN = """\
Apfel Banane Kirsche Erdbeere Orange Zitrone Traube Melone Birne Pflaume Brot Butter Käse Kaffee Zucker Wasser Tisch
Stuhl Fenster Tür Garten Küche Spiegel Teppich Kissen Decke Fluss Berg Tal Wald Insel Meer Wüste Dorf Stadt Straße
Brücke Turm Schloss Kirche Schule Bücherei Markt Bahnhof Flughafen Krankenhaus Museum Theater Hund Katze Pferd Schaf
Hase Maus Adler Spatz Spinne Schmetterling Delfin Elefant Giraffe Affe Tiger Löwe Pinguin Schildkröte Haus Baum
Blume Rose Tulpe Blatt Wurzel Gras Winter Sommer Frühling Herbst Morgen Abend Nacht Montag Freitag Sonntag Januar
April Oktober Arzt Lehrer Bauer Bäcker Maler Schreiber Sänger Fahrer Schwester Bruder Mutter Vater Vetter Freund
Rechner Tastatur Bildschirm Batterie Motor Rakete Planet Komet Stern Mond Sonne Wolke Donner Blitz Regen Schnee Wind
Brief Zahl Frage Antwort Grund Gedanke Traum Geschichte Gedicht Musik Gitarre Klavier Geige Trompete Trommel Tanz
Papier Bleistift Lineal Heft Umschlag Zwiebel Pfeffer Karotte Kartoffel Tomate Knoblauch Hallo Welt Lampe Uhr Glas
Löffel Gabel Messer Teller Flasche Kerze Band Knopf Nadel Faden Wolle Leder Stein Eisen Kupfer Marmor Perle Feder
Muschel Anker Segel Hafen Laterne Leiter Hammer Säge Nagel Schraube Rad Ziegel Fahrrad Auto Zug Schiff Flugzeug
Koffer Tasche Schuh Hemd
""".split()  # noqa: SIM905
