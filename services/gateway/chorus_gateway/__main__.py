from chorus_gateway.main import main

main()
