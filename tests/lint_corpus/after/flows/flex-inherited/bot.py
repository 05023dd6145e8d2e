from base import Base


class Bot(Base):
    prefix = "bot"
