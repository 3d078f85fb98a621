"""``atoll lead``: a program runs only while this process leads. See docs/explanation/lead.md.

Three processes: the supervisor (``machine`` decides, ``supervisor`` does), the ``watchdog`` that kills when the
supervisor cannot, and the ``launcher`` that becomes the program once both are in place.
"""
