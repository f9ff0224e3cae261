# Why a statement has no test, by version: each reason with the numbers it holds for.
%{
  "3.1.1" => [],
  "5.0" => []
}
