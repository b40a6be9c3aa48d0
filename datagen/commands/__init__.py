"""The subcommands of ``eqmm-datagen``, one a module, imported when they are called."""
