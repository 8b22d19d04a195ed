"""Data: sources of pixels and kinds of rows, joined by one data module, `zoo.data.module.DataModule`.

A source (`zoo.data.sources.Source`) says what there is of each split, before it has a size: arrays, files, halves of
files, or two domains of these, each with labels and a digest. A kind of rows (`zoo.data.module.Rows`) asks for it at a
size and makes batches of it. The data module loads, orders, shares among processes and evaluates, whatever the two are.
A set is a class of a few lines that names one of each; its settings are one flat column of annotated names.

    source                                 rows                    sets (data=)
    memory: arrays                         images                  mnist5k, digits, mnist, fashion_mnist, cifar10
    memory: arrays of two domains          pairs                   colour_digits (apart), masked_digits (aligned)
    folder of files                        images                  folder, celeba
    labelled folder: one subfolder a class images                  labelled_folder
    two folders of files                   pairs                   unpaired_folder (apart), paired_folder (aligned)
    halves of files                        pairs                   paired_folder layout=side_by_side
    folder of files                        patches                 super_resolution_folder, photos

An archive (.zip, .npz) would be one more source: the arrays of an .npz are `Arrays`, the members of a .zip a content
with the methods of `Files`.

`files`, `deep`, `reading`, `values` and `cache` find, decode and keep files and the range of their values, and know
neither torch nor Lightning; `check` looks a folder over before it is trained on; `embedded`, `embedded_pairs`,
`public`, `folder`, `pair_folders` and `super_resolution` hold the sets.
"""
