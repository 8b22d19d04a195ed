"""A page in the browser that shows what a trained model can do, by its abilities.

shown.py    what is shown: plain values in, pictures and sentences out. Knows no page
page.py     the page: controls and what they call. It and server.py alone know Gradio and what serves it
server.py   who may ask for what, on which address, and the end
"""
