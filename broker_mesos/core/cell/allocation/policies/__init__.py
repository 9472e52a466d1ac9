"""Who is offered what next. One file a policy; ``policy.py`` is what they have in common."""
