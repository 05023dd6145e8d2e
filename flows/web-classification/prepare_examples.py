"""The few-shot examples of the classification prompt."""

from promptflow.core import tool

EXAMPLES = (
    {
        "url": "https://reelguide.example/title/20417",
        "text_content": "A drama directed by Ilse Varga. A widowed conductor hires a thief to steal back her own piano. "
        "The cast is superb, the plot less so. In cinemas from April; running time 101 minutes, with subtitles.",
        "category": "Movie",
        "evidence": "In cinemas from April; running time 101 minutes",
    },
    {
        "url": "https://nightscreen.example/films/harvest-moon",
        "text_content": "Review of Harvest Moon, a horror film shot in eleven days. The director saves the monster for "
        "the last scene, and the acting carries the story until then. Trailer, showtimes, awards and box office.",
        "category": "Movie",
        "evidence": "a horror film shot in eleven days",
    },
    {
        "url": "https://kinoboard.example/now-showing/two-winters",
        "text_content": "Two Winters: a documentary in black and white about a mountain school. Synopsis, cast and "
        "crew, quotes from critics, nominations. Written and directed by Amina Roth; premiere at a festival, on screen "
        "until June. The story ends before the thaw.",
        "category": "Movie",
        "evidence": "Written and directed by Amina Roth",
    },
    {
        "url": "https://storefront.example/apps/details?id=com.moss.timer",
        "text_content": "Moss is a free timer for your phone with a widget and a dark mode. Install it for Android or "
        "iPhone. Updated in June: bug fixes, less battery use. Contains ads; in-app purchases remove them.",
        "category": "App",
        "evidence": "Install it for Android or iPhone",
    },
    {
        "url": "https://get-parcelbird.example/download",
        "text_content": "Track every parcel on one screen. Download the latest version for Windows or your tablet, sign "
        "in to sync your devices, and get a notification when it arrives. Users rate it 4.7; subscription optional.",
        "category": "App",
        "evidence": "Download the latest version for Windows",
    },
    {
        "url": "https://journals.example/doi/10.5512/lake",
        "text_content": "Abstract. This paper estimates the nitrogen budget of two lakes with a mixed model. Results "
        "differ from earlier studies. Keywords: nitrogen; limnology. Received in March, accepted after peer review. "
        "Authors, references, supplementary data.",
        "category": "Academic",
        "evidence": "accepted after peer review",
    },
    {
        "url": "https://eastbay-university.example/dept/phonetics",
        "text_content": "Proceedings of the workshop on vowel length, with contributions from four universities. We "
        "propose a hypothesis and test it on a sample of 60 participants. Journal volume 12, pages 40 to 58; cite as.",
        "category": "Academic",
        "evidence": "Proceedings of the workshop",
    },
    {
        "url": "https://vidbox.example/channel/woodenboats",
        "text_content": "Wooden boats, built on camera. 48 thousand subscribers and 120 videos; a new upload every "
        "Sunday. Playlists for beginners, live streams for members. Subscribe, and leave a comment.",
        "category": "Channel",
        "evidence": "48 thousand subscribers and 120 videos",
    },
    {
        "url": "https://podhub.example/show/second-shift",
        "text_content": "Second Shift, a weekly podcast hosted by two nurses. Latest episode: the longest night. Watch "
        "or listen to all seasons in our feed, 900 thousand views so far. Thanks to our viewers and patrons.",
        "category": "Channel",
        "evidence": "a weekly podcast hosted by two nurses",
    },
    {
        "url": "https://worklink.example/in/edda-rask",
        "text_content": "Edda Rask, bridge engineer. Experience: nine years with the railways, now self-employed. "
        "Education, skills, languages. She was born in Odense, lives in Riga and likes climbing. Contact her by mail.",
        "category": "Profile",
        "evidence": "Experience: nine years with the railways",
    },
    {
        "url": "https://paulo-serra.example/about-me",
        "text_content": "I am a potter and I teach at an evening school. My career started in my uncle's kiln. "
        "Biography, portrait, portfolio and awards; followers and contacts. In my spare time I sing in a choir.",
        "category": "Profile",
        "evidence": "I am a potter",
    },
    {
        "url": "https://waterboard.example/files/annual-report.pdf",
        "text_content": "Annual report, page 1 of 64. Table of contents, list of figures, appendix B. The document was "
        "scanned and is set in 10 point type. Copyright, no reproduction without consent. Signature and date.",
        "category": "PDF",
        "evidence": "annual-report.pdf",
    },
    {
        "url": "https://docs.kelpworks.example/4410.pdf",
        "text_content": "Instructions for use. Warning: read this manual before assembly. Figure 2 shows the parts, "
        "chapter 3 the maintenance. Form A at the end is to be filled in and returned. Revision 5, 18 pages, print on A4.",
        "category": "PDF",
        "evidence": "Figure 2 shows the parts, chapter 3 the maintenance",
    },
    {
        "url": "https://www.harbour-echo.example/news/1204",
        "text_content": "A lorry overturned near the town hall on Tuesday; police closed the street and the bus line was "
        "diverted. Nobody was hurt, the council said. The weather stays wet with showers and wind.",
        "category": "None",
        "evidence": "police closed the street",
    },
    {
        "url": "https://shop-lumen.example/item/lamp-77",
        "text_content": "Desk lamp, in stock, price including delivery. Add to basket or compare. The page you are looking "
        "for may have moved; sign in to continue. Sale ends on Saturday; opening hours on public holidays.",
        "category": "None",
        "evidence": "Add to basket",
    },
    {
        "url": "https://www.slow-kitchen.example/soups/1",
        "text_content": "A recipe for onion soup: grams of butter and flour, a preheated oven, ingredients for four. "
        "Below it a forum thread, a timetable for market days and flats to let. Choose a country and currency.",
        "category": "None",
        "evidence": "A recipe for onion soup",
    },
)


@tool
def prepare_examples() -> list[dict[str, str]]:
    """Return the examples in the order in which the prompt shows them."""
    return [dict(example) for example in EXAMPLES]
