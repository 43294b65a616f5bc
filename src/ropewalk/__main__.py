from ropewalk.cli.main import main

main()
