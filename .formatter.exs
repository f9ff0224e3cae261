[
  inputs: ["{mix,.formatter}.exs", "{lib,test,examples,bench,native}/**/*.{ex,exs}"],
  locals_without_parens: [statement: 3, statement: 4]
]
