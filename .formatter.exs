[
  inputs: ["{mix,.formatter}.exs", "{lib,test,examples,bench,native}/**/*.{ex,exs}"]
]
