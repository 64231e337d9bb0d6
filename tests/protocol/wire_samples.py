"""One value of every message and frame, for round trips and for the golden vectors."""

from ricochet_protocol.advert import Advert, ModelOffer, SignedAdvert, sign_advert
from ricochet_protocol.conversation import AnswerFormat, Tool, ToolCall, ToolChoice, Turn
from ricochet_protocol.eip712 import (
    Attestation,
    Domain,
    Reservation,
    Session,
    SignedVoucher,
    Voucher,
    sign_attestation,
    sign_reservation,
    sign_session,
    sign_voucher,
)
from ricochet_protocol.ids import Address, Hash32, ModelId, Period, RequestId
from ricochet_protocol.messages import (
    AccountState,
    Adverts,
    Announce,
    Answered,
    Ask,
    CallPiece,
    Chunk,
    DialBack,
    DialledBack,
    Due,
    GetAdverts,
    Gone,
    Hello,
    Pay,
    PaymentRequired,
    Reply,
    Request,
    Reserve,
)
from ricochet_protocol.money import PricePerMillion, Units
from ricochet_protocol.mux import AnyFrame, Cancel, Credit, Data, End, Fail, Ping, Pong
from ricochet_protocol.receipt import Receipt, sign_receipt
from ricochet_protocol.sharing import Basis
from ricochet_protocol.signing import account_address, peer_of

KEY, NODE_SEED, CLIENT_SEED = b"\x11" * 32, b"\x22" * 32, b"\x33" * 32
OPERATOR_KEY = b"\x44" * 32
SUBSCRIBER, NODE = account_address(KEY), Address("0x" + "ab" * 20)
DOMAIN = Domain(chain_id=1337, contract=Address("0x" + "cd" * 20))
OFFER = ModelOffer(
    id=ModelId("smollm2-135m"),
    context=2048,
    price_in=PricePerMillion(100_000),
    price_out=PricePerMillion(200_000),
    slots=3,
    features=("stop", "tools"),
)
PERMISSION = sign_attestation(
    OPERATOR_KEY,
    DOMAIN,
    Attestation(
        operator=account_address(OPERATOR_KEY),
        provider="mistral",
        document=Hash32(b"\x0d" * 32),
        covers="resale of API access",
        expires=1_900_000_000,
    ),
)
ATTESTED = ModelOffer(
    id=ModelId("mistral-small"),
    context=32_768,
    price_in=PricePerMillion(150_000),
    price_out=PricePerMillion(450_000),
    slots=1,
    bases=(Basis("attested", "mistral"), Basis("own")),
    free=1,
    tokens_left=12_000,
)
ADVERT = Advert(
    peer=peer_of(NODE_SEED),
    addresses=(f"/ip4/127.0.0.1/tcp/4001/p2p/{peer_of(NODE_SEED)}",),
    operator=account_address(OPERATOR_KEY),
    network=DOMAIN.network,
    models=(OFFER, ATTESTED),
    region="eu",
    version="0.1.0",
    seq=7,
    issued_at=1_800_000_000,
    ttl=300,
    permissions=(PERMISSION.proof,),
)
SIGNED_ADVERT: SignedAdvert = sign_advert(NODE_SEED, ADVERT)
ASK = Ask(
    request_id=RequestId("0123456789abcdef" * 2),
    period=Period(1),
    model=OFFER.id,
    turns=(Turn("system", "Be brief."), Turn("user", "Où est la forêt ?")),
    max_tokens=90,
    deadline=60,
    temperature=0.5,
)
WEATHER = Tool(
    name="weather",
    description="Today's weather.",
    parameters='{"type":"object","properties":{"town":{"type":"string"}}}',
    strict=True,
)
ASK_WITH_ALL = Ask(
    request_id=RequestId("fedcba9876543210" * 2),
    period=Period(1),
    model=OFFER.id,
    turns=(
        Turn("user", "How is Nancy?"),
        Turn("assistant", "", (ToolCall("call_1", "weather", '{"town":"Nancy"}'),)),
        Turn("tool", "rain", tool_call_id="call_1"),
    ),
    max_tokens=90,
    deadline=60,
    temperature=0.0,
    top_p=0.5,
    stop=("END", "\n\n"),
    seed=-7,
    response_format=AnswerFormat("json_schema", "report", '{"type":"object"}', strict=True),
    tools=(WEATHER,),
    tool_choice=ToolChoice("function", "weather"),
    allow_logging=True,
    terms=b"\x0e" * 32,
)
VOUCHER: SignedVoucher = sign_voucher(KEY, DOMAIN, Voucher(SUBSCRIBER, NODE, Period(1), Units(60)))
ACCOUNT = AccountState(
    period=Period(1), committed=Units(50_000), due=Units(75), credit=Units(5), voucher=VOUCHER
)
RECEIPT = Receipt(
    network=DOMAIN.network,
    subscriber=SUBSCRIBER,
    operator=NODE,
    period=Period(1),
    request_id=ASK.request_id,
    ask=ASK.digest(),
    advert=ADVERT.digest(),
    answer=Hash32(b"\x44" * 32),
    tokens_in=120,
    tokens_out=30,
    exact=True,
    cost=Units(15),
    due=Units(75),
)
REQUESTS: dict[str, Request] = {
    "hello": Hello(
        sign_session(
            KEY,
            DOMAIN,
            Session(SUBSCRIBER, peer_of(CLIENT_SEED), peer_of(NODE_SEED), expires=1_800_003_600),
        )
    ),
    "ask": ASK,
    "ask with all": ASK_WITH_ALL,
    "pay": Pay(VOUCHER),
    "reserve": Reserve(
        sign_reservation(KEY, DOMAIN, Reservation(SUBSCRIBER, NODE, Period(1), Units(50_000)))
    ),
    "get_adverts": GetAdverts(),
    "announce": Announce((SIGNED_ADVERT,)),
    "gone": Gone((SIGNED_ADVERT.advert.peer,)),
    "dial_back": DialBack(SIGNED_ADVERT.advert.addresses),
}
REPLIES: dict[str, Reply] = {
    "chunk": Chunk("Dans les Vosges."),
    "first piece of a call": CallPiece(0, "call_1", "weather", '{"town"'),
    "next piece of a call": CallPiece(0, "", "", ':"Nancy"}'),
    "answered": Answered(sign_receipt(NODE_SEED, RECEIPT), finish="stop"),
    "account": ACCOUNT,
    "account without voucher": AccountState(Period(2), Units(0), Units(0), Units(0), None),
    "payment_required": PaymentRequired(commit=Units(80_000), pay=Units(900), account=ACCOUNT),
    "due": Due(due=Units(1_300)),
    "adverts": Adverts((SIGNED_ADVERT,)),
    "dialled back": DialledBack(SIGNED_ADVERT.advert.addresses[0], "2001:db8::7"),
}
FRAMES: dict[str, AnyFrame] = {
    "data": Data(1, b"\x01\x02\x03"),
    "data with more to come": Data(2, b"\xff", more=True),
    "end": End(1),
    "fail": Fail(3, "busy", "no free slot", "ask another peer"),
    "fail with a wait": Fail(5, "busy", "its rate is used up", "try again later", wait=34),
    "cancel": Cancel(5),
    "credit": Credit(300, 24_576),
    "ping": Ping(0),
    "pong": Pong(70_000),
}
