"""python -m seamaug.cli"""

from seamaug.cli import main

main()
