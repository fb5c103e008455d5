"""Networks and classifiers, and what they make of photos: vectors and scores.

| word | meaning | class |
|---|---|---|
| architecture | a torch module, its name (`timm:NAME`), the pixels it reads | `Architecture` |
| network | a module on a device, which is fed batches of one size | `Network`, `PhotoNetwork` |
| head | the last layers of a module, with one logit a class | |
| backbone | an architecture with weights and without its head | `Backbone`, `Embedder` |
| classifier | anything that maps images to probabilities by class name | `Classifier` |
| model | a classifier by the name that a user gives it | `assets.resources.models.Models` |

`Classifier` is a protocol. `TorchClassifier` (a network, then a softmax), `CallableClassifier` (a
function), `HttpClassifier` (a service), `SkinBaseline` (the rules of 1996) and `PyfuncClassifier`
(a model of MLflow's, in `assets.resources`) follow it.
"""
