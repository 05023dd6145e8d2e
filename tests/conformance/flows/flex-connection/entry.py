from promptflow.connections import CustomConnection


class Ask:
    def __init__(self, service: CustomConnection) -> None:
        self.service = service

    def __call__(self, word: str) -> str:
        return f"{word} {self.service.region} {len(self.service.token)}"
