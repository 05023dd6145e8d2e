def list_tools() -> dict:
    return {
        "own_tools.shouting.shout": {
            "name": "shout",
            "type": "python",
            "module": "own_tools.shouting",
            "function": "shout",
            "inputs": {"word": {"type": ["string"]}, "service": {"type": ["CustomConnection"]}},
        }
    }
