"""The map as a page: a folder of files that a browser opens without a server or a network.

`browser/` has a file for each thing that a person does there. A new one is a file that calls
``tessera.whenReady``, a line in `index.html` before `address.js`, its words in the address in
`address.js`, and its data as a part in `page.py`, in a script of its own if it is not needed at
once.
"""
