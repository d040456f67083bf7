"""`python -m attention_arena` is the `arena` command."""

from attention_arena.commands import main

if __name__ == "__main__":
    main()
