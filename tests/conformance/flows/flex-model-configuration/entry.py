from openai import OpenAI
from promptflow.core import OpenAIModelConfiguration


class Ask:
    def __init__(self, model_config: OpenAIModelConfiguration) -> None:
        self.model = model_config.model
        self.client = OpenAI(api_key=model_config.api_key, base_url=model_config.base_url)

    def __call__(self, word: str) -> str:
        messages = [{"role": "user", "content": word}]
        answer = self.client.chat.completions.create(model=self.model, messages=messages)
        return answer.choices[0].message.content
