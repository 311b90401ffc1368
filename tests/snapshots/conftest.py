from message_fixtures import any_scene, scene, second_server, two_servers

__all__ = ["any_scene", "scene", "second_server", "two_servers"]
