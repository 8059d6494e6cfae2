"""Tables -> figures, sentences, the terminal's text and the page. It computes nothing: every number that it shows stands in
`tables/`. It imports no torch.
"""
