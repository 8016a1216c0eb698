import sys

from chorus_adapter_store.main import main

sys.exit(main())
