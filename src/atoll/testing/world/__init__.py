"""World: whole clusters in one process and one thread, in virtual time, with everything going wrong from one seed.

Rule: the code under test runs unmodified; what it stands on (clocks, network, store, other nodes) is a model. See
``scenario`` for what a seed does, ``world`` for what can be done to a World by hand, ``checks`` for what must hold.
"""
